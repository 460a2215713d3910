//! The part `boot`: parameters of the kernel command line, kept in the boot loader's configuration.

use hosttune::boot::boot_loader::{BootParameters, BootSetting, Detection, detect};
use hosttune::boot::command_line::CommandLineSetting;
use hosttune::cli::Options;
use hosttune::{Error, Planner, Tuning, Unsupported, UnsupportedKind, Why};

const PARAMETERS: &str = "https://docs.kernel.org/admin-guide/kernel-parameters.html";

/// The name of the part.
pub(crate) const PART: &str = "boot";

const WHAT: &str = "kernel parameters";

const NEEDS_PERSIST: &str =
    "kernel parameters are read at boot, and are kept in a file: gaming plan --persist shows them";

const SECURITY: &str = "mitigations=off is a security trade-off: code that runs here, in a browser too, can read what other programs and the kernel have in memory; to leave it out, name the other parts with --only";

/// Parameters of the kernel command line.
pub(crate) struct CommandLine {
    persist: bool,
    candidates: bool,
    is_trial: bool,
    is_generated: bool,
}

impl CommandLine {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            persist: options.persist,
            candidates: options.has("candidates"),
            is_trial: options.try_boot,
            is_generated: options.regenerate,
        }
    }

    pub(crate) fn parameters(&self) -> BootParameters {
        BootParameters::new("gaming", self.settings())
            .trial(self.is_trial)
            .generate(self.is_generated)
    }

    fn settings(&self) -> Vec<BootSetting> {
        let equals = |name, value| BootSetting::new(CommandLineSetting::equals(name, value));
        let mut settings = vec![
            equals("mitigations", "off").why(
                Why::new("system calls and context switches without the work-arounds for CPU vulnerabilities")
                    .looks_wrong("it gives up the protection between programs, and between a browser and the rest")
                    .source("https://docs.kernel.org/admin-guide/hw-vuln/index.html")
                    .risk("a security trade-off: code that runs here, in a browser too, can read what other programs and the kernel have in memory"),
            ),
            equals("nmi_watchdog", "0").why(
                Why::new("the watchdog takes a performance counter and interrupts each CPU")
                    .source(PARAMETERS)
                    .risk("a CPU that hangs with interrupts disabled is not reported"),
            ),
            equals("transparent_hugepage", "madvise").why(
                Why::new("huge pages only for programs that request them, from boot on")
                    .source(PARAMETERS),
            ),
        ];
        if self.candidates {
            settings.push(
                equals("skew_tick", "1").why(
                    Why::new("the timer ticks of the CPUs do not contend for the same locks")
                        .source(PARAMETERS)
                        .risk("CPUs wake up at different times, which costs power"),
                ),
            );
        }
        settings.into_iter().map(BootSetting::optional).collect()
    }
}

impl Tuning for CommandLine {
    fn declare(&self, at: &mut Planner<'_>) -> Result<(), Error> {
        if !at.is_selected() {
            return Ok(());
        }
        if !self.persist {
            at.note(NEEDS_PERSIST);
            return Ok(());
        }
        if let Detection::None = detect(at.host())? {
            let unsupported =
                Unsupported::new(UnsupportedKind::Other, "no known boot loader was found")
                    .hint("add the parameters to the kernel command line manually");
            let request = at.skip(WHAT, unsupported);
            match self.is_trial {
                // Without the trial there would be nothing that the option asks for.
                true => request.required(),
                false => request.optional(),
            };
            return Ok(());
        }
        self.parameters().declare(at)?;
        at.note(SECURITY);
        Ok(())
    }
}
