//! The kernel's answer to a request: the error number and its extended acknowledgement.

use netlink_packet_core::NetlinkBuffer;

use super::attributes::{attributes, u32_at};
use super::numbers::*;

const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;
const NLMSGERR_ATTR_MISS_TYPE: u16 = 5;

/// The answer to a request, or the end of a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Zero for success, or a positive error number.
    pub errno: i32,
    /// The kernel's message. It can come with success too, as a warning.
    pub text: Option<String>,
    /// The offset in bytes of the offending attribute in the request.
    pub offset: Option<usize>,
    /// The number of the missing attribute.
    pub missing: Option<u16>,
}

impl Acknowledgement {
    /// Reads an `NLMSG_ERROR` or `NLMSG_DONE` including its header. `None` if it is too short.
    pub fn read(message: &[u8]) -> Option<Self> {
        let header = NetlinkBuffer::new_checked(message).ok()?;
        let flags = header.flags();
        let code = i32::from_ne_bytes(message.get(16..20)?.try_into().ok()?);
        let mut read = Self {
            errno: code.checked_neg().unwrap_or(EPROTO).max(0),
            ..Self::default()
        };
        if flags & NLM_F_ACK_TLVS == 0 {
            return Some(read);
        }
        let from = match header.message_type() {
            NLMSG_DONE => 20,
            _ if flags & NLM_F_CAPPED != 0 => 20 + NLMSG_HEADER,
            // The answer contains the whole request.
            _ => {
                let echoed = usize::try_from(u32_at(message, 20)?).ok()?;
                20_usize.checked_add(echoed.checked_next_multiple_of(4)?)?
            }
        };
        for attribute in attributes(message.get(from..).unwrap_or_default()) {
            match attribute.number {
                NLMSGERR_ATTR_MSG => read.text = Some(attribute.text()),
                NLMSGERR_ATTR_OFFS => {
                    read.offset = attribute.u32().and_then(|at| usize::try_from(at).ok());
                }
                NLMSGERR_ATTR_MISS_TYPE => {
                    read.missing = attribute.u32().and_then(|at| u16::try_from(at).ok());
                }
                _ => {}
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attributes;

    fn answer(number: u16, flags: u16, code: i32, echoed: &[u8], said: Attributes) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(number.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(code.to_ne_bytes());
        bytes.extend(echoed);
        bytes.extend(said.into_bytes());
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn words_and_offset_are_found_behind_whatever_comes_back_of_the_request() {
        let said = || {
            Attributes::new()
                .with_text(1, "No")
                .with(2, &36_u32.to_ne_bytes())
        };
        let wanted = Acknowledgement {
            errno: 22,
            text: Some("No".into()),
            offset: Some(36),
            missing: None,
        };
        let capped = answer(2, NLM_F_ACK_TLVS | NLM_F_CAPPED, -22, &[7; 16], said());
        assert_eq!(Acknowledgement::read(&capped), Some(wanted.clone()));
        let mut echoed = vec![7; 24];
        echoed[..4].copy_from_slice(&23_u32.to_ne_bytes());
        let whole = answer(2, NLM_F_ACK_TLVS, -22, &echoed, said());
        assert_eq!(Acknowledgement::read(&whole), Some(wanted.clone()));
        let done = answer(3, NLM_F_ACK_TLVS, -22, &[], said());
        assert_eq!(Acknowledgement::read(&done), Some(wanted));
        let silent = answer(2, NLM_F_CAPPED, 0, &[7; 16], said());
        assert_eq!(
            Acknowledgement::read(&silent),
            Some(Acknowledgement::default())
        );
    }

    #[test]
    fn cut_anywhere_it_is_still_read_or_nothing() {
        let said = Attributes::new().with_text(1, "No");
        let mut echoed = vec![7; 24];
        echoed[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        let whole = answer(2, NLM_F_ACK_TLVS, i32::MIN, &echoed, said);
        for length in 0..whole.len() {
            let _ = Acknowledgement::read(&whole[..length]);
        }
        let _ = Acknowledgement::read(&whole);
    }
}
