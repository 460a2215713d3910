//! The options of modules that the initramfs has in its own copy of modprobe.d.

use std::fmt;

use hosttune_core::{
    Host, HostError, HostErrorKind, Knob, Operation, Unsupported, UnsupportedKind,
};
use hosttune_initramfs::{Evidence, FileContent, GeneratedImage, Image, ImageFiles, images_of};
use hosttune_kernel_command_line::RUNNING_LINE;
use serde::{Deserialize, Serialize};

use crate::modprobe_d::ModprobeConfiguration;
use crate::module::canonical;
use crate::module_option::ModuleOption;
use crate::module_parameter::is_same_value;

/// Options of modules in one initramfs image, of the modules that are inside. It can be read and not set: a program
/// such as `update-initramfs` copies them from modprobe.d when it builds the image.
///
/// A module that is not inside is loaded from the root file system, with the options that are there. An image that
/// cannot be read to its end, or that has its files in a file system inside, is unknown, which is an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InitramfsOptions {
    /// The files that make up the image, in order.
    files: Vec<String>,
    is_unified: bool,
    /// The release of the kernel that is started with it.
    release: String,
    /// Module, parameter and value.
    options: Vec<(String, String, String)>,
}

/// What an image has of options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct InitramfsCopy {
    /// The modules of the options that are inside the image.
    pub modules: Vec<String>,
    /// The options that the image has not, of those modules: as requested, and what is there instead.
    pub differences: Vec<String>,
}

impl InitramfsOptions {
    /// The options in each image that the running kernel may be started with, as far as images are found.
    pub(crate) fn of_running_kernel(
        host: &Host,
        options: &[&ModuleOption],
    ) -> Result<Vec<Self>, HostError> {
        let release = match host.read_text("/proc/sys/kernel/osrelease") {
            Ok(release) => release.trim().to_owned(),
            Err(error) if *error.kind() == HostErrorKind::Missing => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let options: Vec<_> = options
            .iter()
            .map(|option| {
                let module = canonical(&option.module);
                (module, canonical(&option.parameter), option.value.clone())
            })
            .collect();
        let images = images_of(host, &release)?.into_iter();
        Ok(images
            .map(|image| Self {
                is_unified: image.evidence == Evidence::UnifiedKernelImage,
                files: image.paths,
                release: release.clone(),
                options: options.clone(),
            })
            .collect())
    }

    /// The files that make up the image, with commas.
    pub fn image(&self) -> String {
        self.files.join(", ")
    }

    /// The image as one that can be made anew, with its copy of a file of modprobe.d; `None` if it is not one file
    /// besides those with microcode.
    pub(crate) fn rebuilt(&self, file: &str) -> Option<GeneratedImage> {
        let is_main = |path: &&String| {
            let name = path.rsplit('/').next().unwrap_or(path);
            !name.contains("ucode") && !name.contains("microcode")
        };
        let mut main = self.files.iter().filter(is_main);
        match (self.is_unified, main.next(), main.next()) {
            (false, Some(path), None) => Some(GeneratedImage::new(path, &self.release, file)),
            _ => None,
        }
    }

    fn compare(&self, image: &Image, command_line: &[u8]) -> Result<InitramfsCopy, String> {
        // A part that was not read may have any module, and any file that wins.
        if let Some(why) = image.incomplete() {
            return Err(why);
        }
        let files = image.modprobe_files();
        let mut known = Vec::new();
        for file in &files {
            match &file.content {
                FileContent::Bytes(bytes) => known.push((&*file.path, &**bytes)),
                FileContent::Unknown(why) => return Err(format!("{} inside: {why}", file.path)),
                _ => return Err(format!("{} inside was not read", file.path)),
            }
        }
        let configuration = ModprobeConfiguration::of_files(known, command_line);
        let mut copy = InitramfsCopy::default();
        for (module, parameter, value) in &self.options {
            // Where an install line loads another module in its place, that one must be inside.
            let mut names = vec![module.clone()];
            let loads = configuration.loaded_instead(module).into_iter();
            names.extend(loads.map(|load| load.module));
            let is_inside = |name: &String| image.has_module(name, &self.release) == Some(true);
            if !names.iter().any(is_inside) {
                continue;
            }
            if !copy.modules.contains(module) {
                copy.modules.push(module.clone());
            }
            match configuration.winner(module, parameter) {
                Some(winner) if is_same_value(winner.value.as_deref().unwrap_or("Y"), value) => {}
                Some(winner) => copy
                    .differences
                    .push(format!("{module} {parameter}={value} (it has {winner})")),
                None => copy
                    .differences
                    .push(format!("{module} {parameter}={value}")),
            }
        }
        Ok(copy)
    }
}

impl fmt::Display for InitramfsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "module options in {}", self.image())
    }
}

impl Knob for InitramfsOptions {
    const NAME: &'static str = "initramfs-options";
    type State = InitramfsCopy;

    fn read(&self, host: &Host) -> Result<InitramfsCopy, HostError> {
        let evidence = match self.is_unified {
            true => Evidence::UnifiedKernelImage,
            false => Evidence::Name,
        };
        let image = ImageFiles {
            paths: self.files.clone(),
            evidence,
        };
        let image = image.read(host)?;
        let command_line = match host.read(RUNNING_LINE) {
            Ok(line) => line,
            Err(error) if *error.kind() == HostErrorKind::Missing => Vec::new(),
            Err(error) => return Err(error),
        };
        self.compare(&image, &command_line)
            .map_err(|why| HostError::malformed(self.image(), why))
    }

    fn set(&self, _: &mut Host, _: &InitramfsCopy) -> Result<(), HostError> {
        Err(HostError::not_applicable(
            Operation::Write,
            self.image(),
            read_only(),
        ))
    }

    fn satisfies(&self, seen: &InitramfsCopy, wanted: &InitramfsCopy) -> bool {
        seen.differences == wanted.differences
    }

    fn unsupported(&self, _: &Host, _: &InitramfsCopy) -> Result<Option<Unsupported>, HostError> {
        Ok(Some(read_only()))
    }

    fn show(&self, state: &InitramfsCopy) -> String {
        match &state.differences[..] {
            [] => "as requested".to_owned(),
            differences => format!("without {}", differences.join(", ")),
        }
    }
}

fn read_only() -> Unsupported {
    Unsupported::new(
        UnsupportedKind::ReadOnly,
        "the initramfs has a copy of modprobe.d, which is made when it is built",
    )
    .hint("rebuild the initramfs")
}
