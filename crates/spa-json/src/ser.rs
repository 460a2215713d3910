//! Serialization of any type to a [`Value`] and to text.

use std::fmt;

use serde::ser::{self, Serialize};

use crate::value::{Data, Entry, Value};

/// Writes a type as strict JSON on one line, which every PipeWire version reads.
///
/// # Errors
/// If the type's own serialization fails, or a map has keys that are no text, number or truth value.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, SerializeError> {
    Ok(to_value(value)?.to_json())
}

/// Converts a type to a [`Value`].
///
/// # Errors
/// As [`to_string`].
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, SerializeError> {
    value.serialize(Serializer)
}

/// Why a type could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerializeError(String);

impl fmt::Display for SerializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SerializeError {}

impl ser::Error for SerializeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Serializer;

fn word(text: String) -> Value {
    Data::Word(text).into()
}

fn float(number: f64) -> Result<Value, SerializeError> {
    if number.is_finite() {
        // Unlike `Display`, this uses an exponent where that is shorter.
        Ok(word(format!("{number:?}")))
    } else {
        Err(SerializeError(format!(
            "{number} cannot be written as JSON"
        )))
    }
}

fn variant(name: &'static str, value: Value) -> Value {
    [Entry::new(name, value)].into_iter().collect()
}

impl ser::Serializer for Serializer {
    type Ok = Value;
    type Error = SerializeError;
    type SerializeSeq = Sequence;
    type SerializeTuple = Sequence;
    type SerializeTupleStruct = Sequence;
    type SerializeTupleVariant = Sequence;
    type SerializeMap = Map;
    type SerializeStruct = Map;
    type SerializeStructVariant = Map;

    fn serialize_bool(self, value: bool) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_i8(self, value: i8) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_i16(self, value: i16) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_i32(self, value: i32) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_i64(self, value: i64) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_u8(self, value: u8) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_u16(self, value: u16) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_u32(self, value: u32) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_u64(self, value: u64) -> Result<Value, SerializeError> {
        Ok(word(value.to_string()))
    }

    fn serialize_f32(self, value: f32) -> Result<Value, SerializeError> {
        float(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<Value, SerializeError> {
        float(value)
    }

    fn serialize_char(self, value: char) -> Result<Value, SerializeError> {
        Ok(value.to_string().into())
    }

    fn serialize_str(self, value: &str) -> Result<Value, SerializeError> {
        Ok(value.into())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, SerializeError> {
        Ok(value
            .iter()
            .map(|byte| Value::from(u64::from(*byte)))
            .collect())
    }

    fn serialize_none(self) -> Result<Value, SerializeError> {
        Ok(Value::null())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, SerializeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, SerializeError> {
        Ok(Value::null())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, SerializeError> {
        Ok(Value::null())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<Value, SerializeError> {
        Ok(name.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, SerializeError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Value, SerializeError> {
        Ok(variant(name, value.serialize(self)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Sequence, SerializeError> {
        Ok(Sequence::of(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Sequence, SerializeError> {
        Ok(Sequence::of(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Sequence, SerializeError> {
        Ok(Sequence::of(None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Sequence, SerializeError> {
        Ok(Sequence::of(Some(name)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Map, SerializeError> {
        Ok(Map::of(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Map, SerializeError> {
        Ok(Map::of(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Map, SerializeError> {
        Ok(Map::of(Some(name)))
    }
}

/// An array under construction, and the variant that it belongs to.
struct Sequence {
    values: Vec<Value>,
    variant: Option<&'static str>,
}

impl Sequence {
    fn of(variant: Option<&'static str>) -> Self {
        Self {
            values: Vec::new(),
            variant,
        }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerializeError> {
        self.values.push(value.serialize(Serializer)?);
        Ok(())
    }

    fn finish(self) -> Value {
        let value = self.values.into_iter().collect();
        match self.variant {
            Some(name) => variant(name, value),
            None => value,
        }
    }
}

/// An object under construction, and the variant that it belongs to.
struct Map {
    entries: Vec<Entry>,
    key: String,
    variant: Option<&'static str>,
}

impl Map {
    fn of(variant: Option<&'static str>) -> Self {
        Self {
            entries: Vec::new(),
            key: String::new(),
            variant,
        }
    }

    fn push<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), SerializeError> {
        self.entries
            .push(Entry::new(key, value.serialize(Serializer)?));
        Ok(())
    }

    fn finish(self) -> Value {
        let value = self.entries.into_iter().collect();
        match self.variant {
            Some(name) => variant(name, value),
            None => value,
        }
    }
}

/// The array types of serde, which differ only in the names of their methods.
macro_rules! sequences {
    ($($name:ident $method:ident),+) => { $(
        impl ser::$name for Sequence {
            type Ok = Value;
            type Error = SerializeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerializeError> {
                self.push(value)
            }

            fn end(self) -> Result<Value, SerializeError> {
                Ok(self.finish())
            }
        }
    )+ };
}

sequences! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
}

impl ser::SerializeMap for Map {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerializeError> {
        match key.serialize(Serializer)?.data {
            Data::Word(key) | Data::String(key) => self.key = key,
            Data::Array(_) | Data::Object(_) => {
                return Err(SerializeError("the key of a map is not text".to_owned()));
            }
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerializeError> {
        let key = std::mem::take(&mut self.key);
        self.entries
            .push(Entry::new(key, value.serialize(Serializer)?));
        Ok(())
    }

    fn end(self) -> Result<Value, SerializeError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStruct for Map {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), SerializeError> {
        self.push(key, value)
    }

    fn end(self) -> Result<Value, SerializeError> {
        Ok(self.finish())
    }
}

impl ser::SerializeStructVariant for Map {
    type Ok = Value;
    type Error = SerializeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), SerializeError> {
        self.push(key, value)
    }

    fn end(self) -> Result<Value, SerializeError> {
        Ok(self.finish())
    }
}
