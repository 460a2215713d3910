//! What answers requests.

use std::fmt;

use super::{Message, NetlinkError, Request};

/// Something that answers rtnetlink requests: the kernel, or a fake of it.
pub trait Rtnetlink: fmt::Debug + Send {
    /// Returns all answers to a dump request, consistent as of one moment.
    ///
    /// # Errors
    /// If the kernel reports an error.
    fn dump(&self, request: &Request) -> Result<Vec<Message>, NetlinkError>;

    /// Returns the single answer to a get request.
    ///
    /// # Errors
    /// If the kernel reports an error: ENODEV if there is no such link.
    fn get(&self, request: &Request) -> Result<Message, NetlinkError>;

    /// Sends a request that changes something.
    ///
    /// # Errors
    /// If the kernel reports an error; nothing was changed in that case.
    fn change(&mut self, request: &Request) -> Result<(), NetlinkError>;
}
