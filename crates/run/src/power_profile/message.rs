//! Messages of D-Bus as bytes (D-Bus specification, "Message Protocol"), as far as holds need them: arguments are
//! strings, numbers and booleans, alone or in a variant.

/// The most bytes of a message that is read. The answers that are waited for have some hundred.
const LONGEST: usize = 1 << 16;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    /// `s`, and when it is read `o` too.
    Text(String),
    /// `u`.
    Number(u32),
    /// `b`.
    Flag(bool),
    /// `v` of one of the others.
    Variant(Box<Argument>),
}

/// A message. Fields that it does not have are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// Whether the bus may start a program for it; always true in what is read.
    pub(super) may_start: bool,
    pub(super) serial: u32,
    pub(super) path: String,
    pub(super) interface: String,
    pub(super) member: String,
    pub(super) error: String,
    /// The serial of the call that it answers; 0 if it answers none.
    pub(super) answers: u32,
    pub(super) destination: String,
    pub(super) sender: String,
    /// Those that are understood; what follows another type is left out.
    pub(super) body: Vec<Argument>,
}

/// What has arrived is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Flags of a call (`NO_AUTO_START`).
const NO_AUTO_START: u8 = 2;

/// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

impl Message {
    /// An empty message.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            may_start: true,
            serial: 1,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            answers: 0,
            destination: String::new(),
            sender: String::new(),
            body: Vec::new(),
        }
    }

    /// The bytes, with the lowest byte of each number first. Everything has far less than the 2^26 bytes of the
    /// longest array.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Writer(Vec::new());
        let mut signature = String::new();
        for argument in &self.body {
            signature.push_str(argument.signature());
            body.argument(argument);
        }
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
        };
        let flags = if self.may_start { 0 } else { NO_AUTO_START };
        let mut out = Writer(vec![b'l', kind, flags, 1]);
        out.number(length(body.0.len()));
        out.number(self.serial);
        let at = out.0.len();
        out.number(0);
        let begin = out.0.len();
        for (code, kind, text) in [
            (PATH, "o", &self.path),
            (INTERFACE, "s", &self.interface),
            (MEMBER, "s", &self.member),
            (ERROR_NAME, "s", &self.error),
            (DESTINATION, "s", &self.destination),
        ] {
            if !text.is_empty() {
                out.field(code, kind);
                out.text(text);
            }
        }
        if self.answers != 0 {
            out.field(REPLY_SERIAL, "u");
            out.number(self.answers);
        }
        if !signature.is_empty() {
            out.field(SIGNATURE, "g");
            out.signature(&signature);
        }
        let count = length(out.0.len() - begin);
        out.0[at..at + 4].copy_from_slice(&count.to_le_bytes());
        out.align(8);
        out.0.extend_from_slice(&body.0);
        out.0
    }

    /// The first message of some bytes and its length; `None` if more have to arrive.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(head) = bytes.get(..16) else {
            return Ok(None);
        };
        let is_big = match head[0] {
            b'l' => false,
            b'B' => true,
            _ => return Err(Malformed("it has no byte order")),
        };
        if head[3] != 1 {
            return Err(Malformed("it is of another version of the protocol"));
        }
        let mut reader = Reader {
            bytes: head,
            at: 4,
            is_big,
        };
        let body_length = reader.length()?;
        let serial = reader.number()?;
        let fields_length = reader.length()?;
        let body_at = (16 + fields_length).next_multiple_of(8);
        let end = body_at + body_length;
        if end > LONGEST {
            return Err(Malformed("it is longer than any that is expected"));
        }
        let Some(whole) = bytes.get(..end) else {
            return Ok(None);
        };
        let mut message = Self::new(match head[1] {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Err(Malformed("it is of an unknown kind")),
        });
        message.serial = serial;
        let mut fields = Reader {
            bytes: &whole[..16 + fields_length],
            at: 16,
            is_big,
        };
        let mut signature = String::new();
        while fields.at < fields.bytes.len() {
            fields.align(8)?;
            let code = fields.byte()?;
            let kind = fields.signature()?;
            let field = match code {
                PATH => &mut message.path,
                INTERFACE => &mut message.interface,
                MEMBER => &mut message.member,
                ERROR_NAME => &mut message.error,
                DESTINATION => &mut message.destination,
                SENDER => &mut message.sender,
                REPLY_SERIAL => {
                    message.answers = fields.number()?;
                    continue;
                }
                SIGNATURE => {
                    signature = fields.signature()?;
                    continue;
                }
                // Of a number: how many descriptors come along. None are taken.
                _ if kind == "u" => {
                    fields.number()?;
                    continue;
                }
                _ => return Err(Malformed("it has an unknown field")),
            };
            *field = fields.text()?;
        }
        let mut body = Reader {
            bytes: &whole[body_at..],
            at: 0,
            is_big,
        };
        for kind in signature.chars() {
            match body.argument(kind, true)? {
                Some(argument) => message.body.push(argument),
                None => break,
            }
        }
        Ok(Some((message, end)))
    }
}

/// A length of far less than 2^32.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Argument {
    fn signature(&self) -> &'static str {
        match self {
            Self::Text(_) => "s",
            Self::Number(_) => "u",
            Self::Flag(_) => "b",
            Self::Variant(_) => "v",
        }
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(length(text.len()));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// The beginning of a header field: its code, and the type of what follows.
    fn field(&mut self, code: u8, kind: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(kind);
    }

    fn argument(&mut self, argument: &Argument) {
        match argument {
            Argument::Text(text) => self.text(text),
            Argument::Number(number) => self.number(*number),
            Argument::Flag(flag) => self.number(u32::from(*flag)),
            Argument::Variant(inner) => {
                self.signature(inner.signature());
                self.argument(inner);
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    is_big: bool,
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        self.at = self.at.saturating_add(count);
        taken.ok_or(Malformed("it ends in the middle of a value"))
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let count = self.at.next_multiple_of(to) - self.at;
        self.take(count).map(drop)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        let is_big = self.is_big;
        let four = self.take(4)?;
        let four = [four[0], four[1], four[2], four[3]];
        Ok(if is_big {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        })
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > LONGEST {
            return Err(Malformed("it is longer than any that is expected"));
        }
        Ok(count)
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let count = self.length()?;
        self.terminated(count)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let count = self.byte()?.into();
        self.terminated(count)
    }

    fn terminated(&mut self, count: usize) -> Result<String, Malformed> {
        let text = String::from_utf8(self.take(count)?.to_vec())
            .map_err(|_| Malformed("a text is not UTF-8"))?;
        match self.byte()? {
            0 => Ok(text),
            _ => Err(Malformed("a text has no end")),
        }
    }

    /// The next argument of this type; `None` for a type that is not understood.
    fn argument(&mut self, kind: char, outside: bool) -> Result<Option<Argument>, Malformed> {
        Ok(Some(match kind {
            's' | 'o' => Argument::Text(self.text()?),
            'u' => Argument::Number(self.number()?),
            'b' => Argument::Flag(self.number()? != 0),
            'v' if outside => {
                let inner = self.signature()?;
                let mut kinds = inner.chars();
                let (Some(kind), None) = (kinds.next(), kinds.next()) else {
                    return Ok(None);
                };
                match self.argument(kind, false)? {
                    Some(inner) => Argument::Variant(Box::new(inner)),
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `dbus-monitor --binary` of what `dbus-send --type=method_call --dest=org.freedesktop.DBus /c d.e.f string:x \
    /// uint32:7 variant:string:y` sends, with libdbus 1.14.
    const CAPTURED: &[u8] = b"\
    l\x01\x00\x01\x16\x00\x00\x00\x02\x00\x00\x00m\x00\x00\x00\
    \x01\x01o\x00\x02\x00\x00\x00/c\x00\x00\x00\x00\x00\x00\
    \x02\x01s\x00\x03\x00\x00\x00d.e\x00\x00\x00\x00\x00\
    \x03\x01s\x00\x01\x00\x00\x00f\x00\x00\x00\x00\x00\x00\x00\
    \x06\x01s\x00\x14\x00\x00\x00org.freedesktop.DBus\x00\x00\x00\x00\
    \x08\x01g\x00\x03suv\x00\x00\x00\x00\x00\x00\x00\x00\
    \x07\x01s\x00\x04\x00\x00\x00:1.1\x00\x00\x00\x00\
    \x01\x00\x00\x00x\x00\x00\x00\x07\x00\x00\x00\x01s\x00\x00\x01\x00\x00\x00y\x00";

    #[test]
    fn a_call_is_as_others_write_it() {
        let (call, length) = Message::decode(CAPTURED).unwrap().unwrap();
        assert_eq!(length, CAPTURED.len());
        let text = |text: &str| Argument::Text(text.to_owned());
        let mut expected = Message::new(Kind::Call);
        expected.serial = 2;
        expected.path = "/c".to_owned();
        expected.interface = "d.e".to_owned();
        expected.member = "f".to_owned();
        expected.destination = "org.freedesktop.DBus".to_owned();
        expected.sender = ":1.1".to_owned();
        expected.body = vec![
            text("x"),
            Argument::Number(7),
            Argument::Variant(Box::new(text("y"))),
        ];
        assert_eq!(call, expected);
        // The bus has added the sender, at 112. Without it the fields end at 105.
        let mut sent = CAPTURED.to_vec();
        sent.drain(112..128);
        sent[12..16].copy_from_slice(&89_u32.to_le_bytes());
        assert_eq!(call.encode().len(), sent.len());
        assert_eq!(call.encode()[..96], sent[..96]);
        assert_eq!(call.encode()[112..], sent[112..]);
        expected.may_start = false;
        assert_eq!(expected.encode()[2], NO_AUTO_START);
    }

    fn argument() -> impl Strategy<Value = Argument> {
        let plain = prop_oneof![
            "[ -~äß]{0,20}".prop_map(Argument::Text),
            any::<u32>().prop_map(Argument::Number),
            any::<bool>().prop_map(Argument::Flag),
        ];
        (plain, any::<bool>()).prop_map(|(plain, in_variant)| match in_variant {
            true => Argument::Variant(Box::new(plain)),
            false => plain,
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let kind = prop_oneof![
            Just(Kind::Call),
            Just(Kind::Return),
            Just(Kind::Error),
            Just(Kind::Signal)
        ];
        let texts = proptest::collection::vec("[a-z./]{0,12}", 5);
        let body = proptest::collection::vec(argument(), 0..5);
        (kind, any::<u32>(), any::<u32>(), texts, body).prop_map(
            |(kind, serial, answers, texts, body)| {
                let mut message = Message::new(kind);
                (message.serial, message.answers, message.body) = (serial, answers, body);
                let [path, interface, member, error, destination] =
                    <[String; 5]>::try_from(texts).unwrap();
                (message.path, message.interface) = (path, interface);
                (message.member, message.error) = (member, error);
                message.destination = destination;
                message
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in message(), rest in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut bytes = message.encode();
            let length = bytes.len();
            for short in 0..length {
                prop_assert_eq!(Message::decode(&bytes[..short]), Ok(None));
            }
            bytes.extend(rest);
            prop_assert_eq!(Message::decode(&bytes), Ok(Some((message, length))));
        }

        #[test]
        fn no_bytes_panic(message in message(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            let mut bytes = message.encode();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = Message::decode(&bytes);
        }
    }
}
