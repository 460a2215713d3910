//! Deserialization of any type from a text or a [`Value`].

use std::collections::HashMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

use crate::error::Error;
use crate::position::{Lines, Position};
use crate::reader;
use crate::value::{Data, Entry, Value};

/// Reads a type from a text, as PipeWire from 1.1.81 reads it.
///
/// The text is an object, with or without braces, or an array. Of several entries with the same key
/// the last one counts. A text field takes bare words as well as strings: `name = 48000` is the text
/// `48000`.
///
/// # Errors
/// A fault in the text, or a value that does not fit the type, with line and column.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, DeserializeError> {
    let value = reader::parse(text).map_err(DeserializeError::Syntax)?;
    T::deserialize(&value).map_err(|error| match error {
        DeserializeError::Data {
            message,
            offset: Some(offset),
            position: None,
        } => DeserializeError::Data {
            message,
            offset: Some(offset),
            position: Some(Lines::of(text.as_bytes()).position(offset)),
        },
        other => other,
    })
}

/// Why a type could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeserializeError {
    /// The text has a fault.
    Syntax(Error),
    /// A value does not fit the type.
    Data {
        /// What does not fit.
        message: String,
        /// The byte offset of the value.
        offset: Option<usize>,
        /// The same as line and column, if the text is known.
        position: Option<Position>,
    },
}

impl fmt::Display for DeserializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            Self::Data {
                message,
                position: Some(position),
                ..
            } => write!(f, "{position}: {message}"),
            Self::Data { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for DeserializeError {}

impl de::Error for DeserializeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Data {
            message: message.to_string(),
            offset: None,
            position: None,
        }
    }
}

impl DeserializeError {
    /// Adds the place, if a value inside has not added its own.
    fn at(mut self, value: &Value) -> Self {
        if let Self::Data {
            offset: offset @ None,
            ..
        } = &mut self
        {
            *offset = Some(value.span.start);
        }
        self
    }
}

impl<'de> de::Deserializer<'de> for &'de Value {
    type Error = DeserializeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let result = match &self.data {
            Data::Word(_) if self.is_null() => visitor.visit_unit(),
            Data::Word(word) => {
                if let Some(truth) = self.as_bool() {
                    visitor.visit_bool(truth)
                } else if let Some(number) = large(word) {
                    visitor.visit_u64(number)
                } else if let Some(number) = self.as_i64() {
                    visitor.visit_i64(number)
                } else if let Some(number) = self.as_f64() {
                    visitor.visit_f64(number)
                } else {
                    visitor.visit_borrowed_str(word)
                }
            }
            Data::String(string) => visitor.visit_borrowed_str(string),
            Data::Array(values) => visitor.visit_seq(Elements(values.iter())),
            Data::Object(entries) => visitor.visit_map(Entries::of(entries)),
        };
        result.map_err(|error| error.at(self))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.as_text() {
            Some(text) => visitor
                .visit_borrowed_str(text)
                .map_err(|error: DeserializeError| error.at(self)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let result = match &self.data {
            Data::Word(variant) | Data::String(variant) => {
                visitor.visit_enum(variant.as_str().into_deserializer())
            }
            Data::Object(entries) if entries.len() == 1 => visitor.visit_enum(Variant(&entries[0])),
            Data::Object(_) | Data::Array(_) => Err(de::Error::custom(
                "wanted the name of a variant, or an object with one entry",
            )),
        };
        result.map_err(|error: DeserializeError| error.at(self))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct ignored_any
    }
}

/// A decimal number that fits only without a sign, which `strtol` would not read as it is.
fn large(word: &str) -> Option<u64> {
    let number = word.parse::<u64>().ok()?;
    (number > i64::MAX.unsigned_abs() && !word.starts_with(['0', '+'])).then_some(number)
}

/// The elements of an array.
struct Elements<'de>(std::slice::Iter<'de, Value>);

impl<'de> de::SeqAccess<'de> for Elements<'de> {
    type Error = DeserializeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Self::Error> {
        self.0
            .next()
            .map(|value| seed.deserialize(value))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The entries of an object, the last one of each key.
struct Entries<'de> {
    entries: std::vec::IntoIter<&'de Entry>,
    value: Option<&'de Value>,
}

impl<'de> Entries<'de> {
    fn of(entries: &'de [Entry]) -> Self {
        let mut last: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            last.insert(&entry.key, index);
        }
        let entries = entries.iter().enumerate();
        let counting = entries.filter(|(index, entry)| last.get(entry.key.as_str()) == Some(index));
        Self {
            entries: counting
                .map(|(_, entry)| entry)
                .collect::<Vec<_>>()
                .into_iter(),
            value: None,
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = DeserializeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        let Some(entry) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(&entry.value);
        let key: StrDeserializer<'de, DeserializeError> = StrDeserializer::new(&entry.key);
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| match error {
                DeserializeError::Data { message, .. } => DeserializeError::Data {
                    message,
                    offset: Some(entry.key_span.start),
                    position: None,
                },
                other => other,
            })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// A variant with content: the only entry of an object.
struct Variant<'de>(&'de Entry);

impl<'de> de::EnumAccess<'de> for Variant<'de> {
    type Error = DeserializeError;
    type Variant = &'de Value;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Self::Error> {
        let name: StrDeserializer<'de, DeserializeError> = StrDeserializer::new(&self.0.key);
        Ok((seed.deserialize(name)?, &self.0.value))
    }
}

impl<'de> de::VariantAccess<'de> for &'de Value {
    type Error = DeserializeError;

    fn unit_variant(self) -> Result<(), Self::Error> {
        serde::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        de::Deserializer::deserialize_any(self, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        de::Deserializer::deserialize_any(self, visitor)
    }
}
