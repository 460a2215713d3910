//! The initramfs images of the running kernel, as a plan of options of modules sees them.

#[cfg(feature = "initramfs")]
use hosttune_core::When;
#[cfg(feature = "initramfs")]
use hosttune_core::host::RootKind;
use hosttune_core::{Error, Planner};
#[cfg(feature = "initramfs")]
use hosttune_initramfs::{GeneratedImage, ImageState};

use crate::initramfs;
#[cfg(feature = "initramfs")]
use crate::initramfs_copy::{InitramfsCopy, InitramfsOptions};
use crate::module_option::ModuleOption;

/// What the images of the running kernel have of the options.
#[derive(Default)]
pub(crate) struct InitramfsImages {
    /// The modules of the options, for the note.
    modules: Vec<String>,
    /// Whether every image was looked into.
    is_known: bool,
    #[cfg(feature = "initramfs")]
    copies: Vec<InitramfsOptions>,
    /// Those of the copies that could be read.
    #[cfg(feature = "initramfs")]
    known: Vec<InitramfsOptions>,
    /// The images that are made anew, in place of a copy that is expected.
    #[cfg(feature = "initramfs")]
    rebuilt: Vec<(GeneratedImage, ImageState)>,
    /// Images and what they lack, as the end of a sentence.
    missing: Vec<(String, String)>,
}

impl InitramfsImages {
    /// An image is read only for options that a file on this host can decide.
    #[cfg(feature = "initramfs")]
    pub(crate) fn read(
        at: &mut Planner<'_>,
        kept: &[&ModuleOption],
        overridden: &[(&ModuleOption, String)],
    ) -> Result<Self, Error> {
        let mut found = Self::of(kept);
        if at.host().root_kind() == RootKind::Image {
            return Ok(found);
        }
        let sought: Vec<&ModuleOption> = kept
            .iter()
            .filter(|option| !overridden.iter().any(|(other, _)| other == *option))
            .copied()
            .collect();
        if sought.is_empty() {
            return Ok(found);
        }
        let copies = InitramfsOptions::of_running_kernel(at.host(), &sought)?;
        found.is_known = !copies.is_empty();
        for copy in copies {
            match at.now(&copy) {
                // The options of modules that are not inside come from the root file system.
                Ok(seen) if seen.modules.is_empty() => {}
                Ok(seen) => {
                    if !seen.differences.is_empty() {
                        let without = format!(
                            "loads {} without {}",
                            seen.modules.join(" and "),
                            seen.differences.join(", ")
                        );
                        found.missing.push((copy.image(), without));
                    }
                    found.known.push(copy.clone());
                    found.copies.push(copy);
                }
                // Verify reports why it is not known.
                Err(Error::Host(_)) => {
                    found.is_known = false;
                    found.copies.push(copy);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    #[cfg(not(feature = "initramfs"))]
    pub(crate) fn read(
        _: &mut Planner<'_>,
        kept: &[&ModuleOption],
        _: &[(&ModuleOption, String)],
    ) -> Result<Self, Error> {
        Ok(Self::of(kept))
    }

    fn of(kept: &[&ModuleOption]) -> Self {
        let mut modules: Vec<String> = kept.iter().map(|option| option.module.clone()).collect();
        modules.dedup();
        Self {
            modules,
            ..Self::default()
        }
    }

    pub(crate) fn note(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        let command = initramfs::rebuild_command(at.host())?;
        for (image, missing) in &self.missing {
            at.note(match command {
                _ if self.is_rebuilt(image) => format!(
                    "the initramfs {image} {missing}: it is made anew, and a revert makes it anew too, from the configuration as it then is; the image is not the same byte for byte"
                ),
                Some(command) => {
                    format!("the initramfs {image} {missing}: run {command} after the change")
                }
                None => format!("the initramfs {image} {missing}: rebuild it after the change"),
            });
        }
        if let (false, Some(command)) = (self.is_known, command) {
            at.note(format!(
                "the initramfs has its own copy of modprobe.d, which is not known here: if it loads {}, rebuild it with {command}",
                self.modules.join(" or ")
            ));
        }
        Ok(())
    }

    /// Has the images made anew that are one file with one of the modules inside. The others stay pending.
    #[cfg(feature = "initramfs")]
    pub(crate) fn made_anew(mut self, path: &str, bytes: &[u8]) -> Self {
        let (known, copies): (Vec<InitramfsOptions>, _) = std::mem::take(&mut self.copies)
            .into_iter()
            .partition(|copy| self.known.contains(copy) && copy.rebuilt(path).is_some());
        self.copies = copies;
        let images = known.iter().filter_map(|copy| copy.rebuilt(path));
        self.rebuilt = images
            .map(|image| (image, GeneratedImage::with_copy(bytes)))
            .collect();
        self
    }

    #[cfg(feature = "initramfs")]
    fn is_rebuilt(&self, image: &str) -> bool {
        let mut rebuilt = self.rebuilt.iter();
        rebuilt.any(|(knob, _)| image.split(", ").any(|file| file == knob.to_string()))
    }

    #[cfg(not(feature = "initramfs"))]
    fn is_rebuilt(&self, _: &str) -> bool {
        false
    }

    #[cfg(feature = "initramfs")]
    pub(crate) fn want(&self, at: &mut Planner<'_>) {
        for (image, state) in &self.rebuilt {
            at.want(image, state)
                .why("the initramfs loads the module with its own copy of modprobe.d");
        }
    }

    #[cfg(not(feature = "initramfs"))]
    pub(crate) fn want(&self, _: &mut Planner<'_>) {}

    #[cfg(feature = "initramfs")]
    pub(crate) fn expect(&self, at: &mut Planner<'_>) {
        for copy in &self.copies {
            at.expect(copy, &InitramfsCopy::default(), When::Initramfs)
                .why("the initramfs loads the module with its own copy of modprobe.d");
        }
    }

    #[cfg(not(feature = "initramfs"))]
    pub(crate) fn expect(&self, _: &mut Planner<'_>) {}
}
