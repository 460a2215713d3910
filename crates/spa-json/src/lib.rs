//! SPA-JSON: the relaxed JSON of PipeWire's and WirePlumber's configuration.
//!
//! ```
//! use hosttune_spa_json::{Dialect, Reading, from_str, parse};
//! use serde::Deserialize;
//!
//! let text = r#"
//!     context.properties = {       # braces, quotes, '=' and ',' are optional
//!         default.clock.rate = 48000
//!         "default.clock.allowed-rates": [ 44100 48000 ]
//!     }
//! "#;
//! let value = parse(text)?;
//! let properties = value.get("context.properties").unwrap();
//! assert_eq!(properties.get("default.clock.rate").unwrap().as_i64(), Some(48000));
//! assert_eq!(
//!     properties.to_json(),
//!     r#"{ "default.clock.rate": 48000, "default.clock.allowed-rates": [ 44100, 48000 ] }"#
//! );
//!
//! #[derive(Deserialize)]
//! struct Clock { rate: u32, name: String }
//! let clock: Clock = from_str("rate = 0xbb80 name = 48").unwrap();
//! assert_eq!((clock.rate, clock.name.as_str()), (48000, "48"));
//!
//! // PipeWire from 1.1.81 drops a whole file at a fault; earlier versions drop the rest of it.
//! let faulty = b"a = 1\nb = [ 2 = 3 ]\nc = 4\n";
//! let error = Reading::of(faulty, Dialect::Checked).error.unwrap();
//! assert_eq!((error.position.line, error.position.column), (2, 9));
//! assert!(Reading::of(faulty, Dialect::Lenient).error.is_none());
//! # Ok::<(), hosttune_spa_json::Error>(())
//! ```
//!
//! # Vocabulary
//! - [`Reading`]: what a PipeWire version reads in a text, the [`Error`] at which it stops, and the
//!   [`Remark`]s about what it silently drops.
//! - [`Dialect`]: which of PipeWire's two parsers reads it.
//! - [`Value`]: the tree, with [`Span`]s, the order of entries, and entries with the same key.
//! - [`from_str`] and [`to_string`]: any type of serde.
//!
//! Reading takes time in proportion to the text, nests at most [`MAX_DEPTH`] deep, and cannot panic.
//! The behaviour is compared with PipeWire's own `spa-json-dump`, of 0.3.65 and 1.4.2, in the tests.

mod de;
mod dialect;
mod error;
mod lexer;
mod position;
mod reader;
mod scalar;
mod ser;
mod value;
mod write;

pub use de::{DeserializeError, from_str};
pub use dialect::Dialect;
pub use error::{Error, Reason, Remark, RemarkKind};
pub use position::{Lines, Position, Span};
pub use reader::{MAX_DEPTH, MAX_KEY, Reading, TopLevel, parse};
pub use ser::{SerializeError, to_string, to_value};
pub use value::{Data, Entry, Value};
