//! The protocol: PODs, messages that daemons have sent, and daemons that misbehave.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod captures;
mod hostile;
mod pods;
