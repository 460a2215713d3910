//! What a host opens to users without root, through the helper.

use hosttune_helper::protocol::Request;

use super::Setting;
use super::arguments::Global;

/// What users without root may have a helper apply while their command runs. Everything else is for root alone.
///
/// The users are the members of one group. What is opened to them should be harmless to others, take little time,
/// and need nothing that only root can judge, such as a link's rate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenToUsers {
    parts: Vec<&'static str>,
    with: Vec<&'static str>,
    settings: Vec<&'static str>,
    nice: Option<i32>,
}

impl OpenToUsers {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// These parts of the tuning, by the names that `--only` takes.
    pub fn parts(parts: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            parts: parts.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Also these optional parts of `--with`, as far as they are within the open parts.
    #[must_use]
    pub fn with(mut self, candidates: impl IntoIterator<Item = &'static str>) -> Self {
        self.with = candidates.into_iter().collect();
        self
    }

    /// Also these options of the profile, by their names. Their values come from users.
    #[must_use]
    pub fn settings(mut self, settings: impl IntoIterator<Item = &'static str>) -> Self {
        self.settings = settings.into_iter().collect();
        self
    }

    /// Also nice values of their own commands down to this one, −20 to 19.
    #[must_use]
    pub fn nice(mut self, lowest: i32) -> Self {
        self.nice = Some(lowest);
        self
    }

    /// Whether there is anything.
    pub(super) fn is_nothing(&self) -> bool {
        self.parts.is_empty()
    }

    /// The parts that a run is limited to if it names none.
    pub(super) fn part_names(&self) -> Vec<String> {
        self.parts.iter().map(|&name| name.to_owned()).collect()
    }

    /// The options of a run that a user has asked for, or what of it is not open.
    pub(super) fn admit(
        &self,
        host: &str,
        request: &Request,
        settings: &[Setting],
    ) -> Result<Global, NotOpen> {
        if self.is_nothing() {
            return Err(NotOpen {
                why: format!("{host} opens nothing to users"),
                hint: format!("run it as root: sudo {host} run"),
            });
        }
        let check = |what: &str, asked: &[String], open: &[&'static str]| {
            let closed = asked.iter().find(|name| !open.contains(&name.as_str()));
            closed.map_or(Ok(()), |name| {
                Err(NotOpen {
                    why: format!("{host} does not open {what} {name} to users"),
                    hint: match open {
                        [] => format!("omit it, or run it as root: sudo {host} run"),
                        _ => format!("open are: {}", open.join(", ")),
                    },
                })
            })
        };
        let names: Vec<String> = request.set.keys().cloned().collect();
        check("the part", &request.only, &self.parts)?;
        check("the optional part", &request.with, &self.with)?;
        check("the option", &names, &self.settings)?;
        for (name, value) in &request.set {
            let setting = settings.iter().find(|setting| setting.name == name);
            let checked = match setting {
                Some(setting) => (setting.check)(value),
                None => Err("there is no such option".to_owned()),
            };
            checked.map_err(|why| NotOpen {
                why: format!("--{name}: {why}"),
                hint: format!("see {host} --help"),
            })?;
        }
        Ok(Global {
            only: match request.only.as_slice() {
                [] => self.part_names(),
                only => only.to_vec(),
            },
            with: request.with.clone(),
            set: request.set.clone(),
            strict: request.strict,
            ..Global::default()
        })
    }

    /// The nice value that a user has asked for, or why it is not open.
    pub(super) fn admit_nice(&self, host: &str, nice: i32) -> Result<i32, String> {
        match self.nice {
            Some(lowest) if nice >= lowest => Ok(nice),
            Some(lowest) => Err(format!(
                "{host} opens nice values down to {lowest} to users, not {nice}"
            )),
            None => Err(format!("{host} opens no nice values to users")),
        }
    }
}

/// Something that a host does not open to users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotOpen {
    pub(super) why: String,
    pub(super) hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> OpenToUsers {
        OpenToUsers::parts(["cpu", "sysctl"])
            .settings(["rate"])
            .nice(-10)
    }

    const SETTINGS: &[Setting] = &[
        Setting {
            name: "rate",
            value: "RATE",
            help: "",
            check: |text| text.parse::<u32>().map(drop).map_err(|e| e.to_string()),
        },
        Setting {
            name: "device",
            value: "DEVICE",
            help: "",
            check: |_| Ok(()),
        },
    ];

    fn admitted(request: &Request) -> Result<Global, String> {
        open()
            .admit("gaming", request, SETTINGS)
            .map_err(|not| not.why)
    }

    #[test]
    fn only_what_is_open_is_admitted() {
        let request = || Request::new("gaming", "");
        // Without a name it is everything that is open, and not everything.
        assert_eq!(admitted(&request()).unwrap().only, ["cpu", "sysctl"]);
        assert_eq!(admitted(&request().only(["cpu"])).unwrap().only, ["cpu"]);
        assert!(admitted(&request().only(["cpu", "qos"])).is_err());
        let with = |change: fn(&mut Request)| {
            let mut request = request();
            change(&mut request);
            admitted(&request)
        };
        assert!(with(|request| request.with.push("candidates".into())).is_err());
        let set = |name: &'static str, value: &'static str| {
            let mut request = request();
            request.set.insert(name.into(), value.into());
            admitted(&request)
        };
        assert_eq!(set("rate", "7").unwrap().set["rate"], "7");
        // Open, and of a value that the option itself refuses; known, and closed; unknown.
        assert!(set("rate", "7 && reboot").is_err());
        assert!(set("device", "eth0").is_err());
        assert!(set("root", "/tmp").is_err());
        assert!(!with(|_| {}).unwrap().persist);
        let nothing = OpenToUsers::nothing().admit("gaming", &request(), SETTINGS);
        assert_eq!(nothing.unwrap_err().why, "gaming opens nothing to users");
    }

    #[test]
    fn nice_values_are_open_down_to_one() {
        assert_eq!(open().admit_nice("gaming", -10), Ok(-10));
        assert_eq!(open().admit_nice("gaming", 5), Ok(5));
        assert!(open().admit_nice("gaming", -11).is_err());
        assert!(OpenToUsers::parts(["cpu"]).admit_nice("gaming", 5).is_err());
    }
}
