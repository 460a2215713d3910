//! Settings of sqm-scripts, as `/etc/config/sqm` of OpenWrt has them.
//!
//! Each enabled section is what one run of sqm-scripts sets up on a device. [`read`] translates it
//! into rates and CAKE options in tc's words: every option that the scripts pass on, with their
//! defaults, which differ from those of LuCI's form and from those of CAKE. What the scripts do and
//! CAKE cannot is told in [`SqmQueue::notes`].
//!
//! Compared with the commands that sqm-scripts 1.6.0 runs (`tests/captures/sqm`).
//!
//! ```
//! let queues = hosttune_qos::sqm::read(
//!     "config queue 'eth1'
//!         option enabled '1'
//!         option interface 'eth1'
//!         option upload '10000'
//!         option download '85000'
//!         option script 'layer_cake.qos'
//!         option linklayer 'ethernet'
//!         option overhead '44'",
//! )?;
//! assert_eq!(queues[0].interface, "eth1");
//! assert_eq!(queues[0].upload.unwrap().to_string(), "10mbit");
//! assert_eq!(queues[0].cake_up, "no-ack-filter egress diffserv3 nat overhead 44 mpu 0");
//! # Ok::<(), hosttune_qos::sqm::SqmError>(())
//! ```

mod uci;

use serde::{Deserialize, Serialize};

use crate::cake::{Cake, TextError};
use crate::rate::Rate;

use uci::Section;
pub use uci::UciError;

/// The rates of the scripts' `defaults.sh`, for a section without them, in kbit/s.
const DEFAULT_UPLOAD: &str = "2302";
const DEFAULT_DOWNLOAD: &str = "14698";

/// What one section of `/etc/config/sqm` sets up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SqmQueue {
    /// Name of the section; `None` if it has none.
    pub name: Option<String>,
    /// Line number of the section in the file, from one.
    pub line: usize,
    /// Whether sqm-scripts start it.
    pub enabled: bool,
    /// Network device.
    pub interface: String,
    /// Upload rate; `None` if uploads are not shaped.
    pub upload: Option<Rate>,
    /// Download rate; `None` if downloads are not shaped.
    pub download: Option<Rate>,
    /// CAKE options for uploads in tc's words, without the rate.
    pub cake_up: String,
    /// CAKE options for downloads in tc's words, without the rate.
    pub cake_down: String,
    /// What is different from the scripts, one sentence each.
    pub notes: Vec<String>,
}

/// Why a file cannot be translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqmError {
    /// The file is not UCI.
    #[error(transparent)]
    Uci(#[from] UciError),
    /// An option of a section has no meaning.
    #[error("line {line}: option {option} '{value}': {problem}")]
    Option {
        /// Line number of the option, or of the section where a default is wrong.
        line: usize,
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A section names no device.
    #[error("line {line}: the section has no option interface")]
    NoInterface {
        /// Line number of the section.
        line: usize,
    },
    /// The file has no section `config queue`.
    #[error("there is no section 'config queue'")]
    NoQueue,
}

/// Reads the text of `/etc/config/sqm`.
///
/// # Errors
/// If the file is not UCI, has no section for a queue, or an option of it has no meaning.
pub fn read(text: &str) -> Result<Vec<SqmQueue>, SqmError> {
    let sections = uci::sections(text)?;
    let queues: Vec<SqmQueue> = sections
        .iter()
        .filter(|section| section.kind == "queue")
        .map(queue)
        .collect::<Result<_, _>>()?;
    if queues.is_empty() {
        return Err(SqmError::NoQueue);
    }
    Ok(queues)
}

/// A section with what it is read for.
struct Reading<'a> {
    section: &'a Section,
    notes: Vec<String>,
}

impl Reading<'_> {
    fn wrong(&self, option: &'static str, problem: impl Into<String>) -> SqmError {
        let all = &self.section.options;
        let found = all.iter().rev().find(|(name, _, _)| name == option);
        SqmError::Option {
            line: found.map_or(self.section.line, |(_, _, line)| *line),
            option,
            value: found.map_or_else(String::new, |(_, value, _)| value.clone()),
            problem: problem.into(),
        }
    }

    fn number(&self, option: &'static str, default: &str) -> Result<i64, SqmError> {
        let value = self.section.option(option).unwrap_or(default).trim();
        value
            .parse()
            .map_err(|_| self.wrong(option, "not a whole number"))
    }

    fn rate(&mut self, option: &'static str, default: &str) -> Result<Option<Rate>, SqmError> {
        if self.section.option(option).is_none() {
            self.notes.push(format!(
                "there is no option {option}: the scripts then take {default} kbit/s"
            ));
        }
        let kbit = self.number(option, default)?;
        let Ok(bits) = u64::try_from(kbit.saturating_mul(1_000)) else {
            return Err(self.wrong(option, "a rate in kbit/s is not negative"));
        };
        match bits {
            0 => Ok(None),
            _ => Rate::bits_per_second(bits)
                .map(Some)
                .map_err(|error| self.wrong(option, error.to_string())),
        }
    }

    /// `1` is true and everything else is not, as in the scripts.
    fn is_one(&self, option: &str, default: &str) -> bool {
        self.section.option(option).unwrap_or(default).trim() == "1"
    }

    /// The words that describe the link, the same for both directions.
    fn link_layer(&mut self) -> Result<String, SqmError> {
        let layer = self.section.option("linklayer").unwrap_or("none");
        if layer == "none" {
            return Ok(String::new());
        }
        let overhead = self.number("overhead", "0")?;
        let smallest = self.number("tcMPU", "0")?;
        let mechanism = self.section.option("linklayer_adaptation_mechanism");
        let mut cells = layer == "atm";
        match mechanism.unwrap_or("default") {
            "default" | "cake" => {}
            "tc_stab" => {
                cells |= layer == "adsl";
                self.notes.push(
                    "the scripts count the overhead in a size table (tc_stab); here CAKE counts it"
                        .to_owned(),
                );
            }
            other => {
                self.notes.push(format!(
                    "linklayer_adaptation_mechanism '{other}' has no effect on CAKE in the scripts; here CAKE counts the overhead"
                ));
            }
        }
        let cells = if cells { "atm " } else { "" };
        Ok(format!(" {cells}overhead {overhead} mpu {smallest}"))
    }
}

/// The option of a section that names the words for one direction.
fn extra<'a>(reading: &Reading<'a>, option: &'static str) -> Result<&'a str, SqmError> {
    let words = reading.section.option(option).unwrap_or("").trim();
    words
        .parse::<Cake>()
        .map_err(|error: TextError| reading.wrong(option, error.to_string()))?;
    Ok(words)
}

fn queue(section: &Section) -> Result<SqmQueue, SqmError> {
    let mut reading = Reading {
        section,
        notes: Vec::new(),
    };
    let Some(interface) = section.option("interface") else {
        return Err(SqmError::NoInterface { line: section.line });
    };
    if interface.starts_with('@') {
        reading.notes.push(format!(
            "'{interface}' names a network of OpenWrt: give its device with --device"
        ));
    }
    let (upload, download) = (
        reading.rate("upload", DEFAULT_UPLOAD)?,
        reading.rate("download", DEFAULT_DOWNLOAD)?,
    );
    let script = section.option("script").unwrap_or("");
    let (up, mut down) = match script {
        "piece_of_cake.qos" => ("besteffort", "besteffort"),
        "layer_cake.qos" => ("diffserv3", "diffserv3"),
        "simple.qos" => ("diffserv3", "diffserv3"),
        "simplest.qos" | "simplest_tbf.qos" => ("besteffort", "besteffort"),
        "" => {
            let problem = "the scripts do nothing without one, such as piece_of_cake.qos";
            return Err(reading.wrong("script", problem));
        }
        _ => {
            return Err(reading.wrong(
                "script",
                "unknown: piece_of_cake.qos, layer_cake.qos, simple.qos, simplest.qos and simplest_tbf.qos are known",
            ));
        }
    };
    let is_cake = script.ends_with("_cake.qos");
    if !is_cake {
        let qdisc = section.option("qdisc").unwrap_or("fq_codel");
        reading.notes.push(format!(
            "{script} shapes with HTB or TBF and {qdisc}; here CAKE does, so its options for {qdisc} are left out"
        ));
    }
    let mut wash = "";
    if script == "layer_cake.qos" && reading.is_one("squash_ingress", "1") {
        down = "besteffort";
    }
    if is_cake && reading.is_one("squash_dscp", "1") {
        wash = " wash";
    }
    let layer = reading.link_layer()?;
    let (more_up, more_down) = match is_cake {
        true => (
            extra(&reading, "eqdisc_opts")?,
            extra(&reading, "iqdisc_opts")?,
        ),
        false => ("", ""),
    };
    // A profile's own options come first, so what it sets and the scripts do not is taken back.
    let words = |first: &str, wash: &str, more: &str| {
        let nat = if is_cake { " nat" } else { "" };
        let text = format!("no-ack-filter egress {first}{nat}{wash}{layer} {more}");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (cake_up, cake_down) = (words(up, "", more_up), words(down, wash, more_down));
    for (option, words) in [("overhead", &cake_up), ("overhead", &cake_down)] {
        words
            .parse::<Cake>()
            .map_err(|error: TextError| reading.wrong(option, error.to_string()))?;
    }
    Ok(SqmQueue {
        name: section.name.clone(),
        line: section.line,
        enabled: reading.is_one("enabled", "0"),
        interface: interface.to_owned(),
        upload,
        download,
        cake_up,
        cake_down,
        notes: reading.notes,
    })
}
