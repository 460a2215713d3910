//! irqbalance, which is only noted unless it is to be stopped.

use hosttune::cli::Options;
use hosttune::cpu::irqbalance::NoteIrqbalance;
use hosttune::service::StoppedService;
use hosttune::{Tuning, Why};

/// The optional part that stops it.
pub(crate) const STOP: &str = "stop-irqbalance";

const SOURCE: &str = "https://github.com/Irqbalance/irqbalance";

/// Stops it, or notes that it runs.
pub(crate) fn tuning(options: &Options) -> Box<dyn Tuning> {
    if !options.has(STOP) {
        return Box::new(NoteIrqbalance);
    }
    let why =
        Why::new("keeps interrupts on their processors: irqbalance moves them every ten seconds")
            .source(SOURCE)
            .risk("all interrupts stay where they are now, also where that is one busy processor");
    Box::new(StoppedService::new("irqbalance.service").why(why))
}
