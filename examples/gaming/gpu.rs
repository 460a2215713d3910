//! The part `gpu`: maximum performance mode of NVIDIA GPUs, while a command runs.

use hosttune::cli::Options;
use hosttune::nvidia::runtime::MaximumPerformance;
use hosttune::{Tuning, Why};

const NVML: &str = "https://docs.nvidia.com/deploy/nvml-api/";

/// The mode for `run`, and nothing for `apply`: at all times it would only heat the room.
pub(crate) fn tuning(options: &Options) -> Box<dyn Tuning> {
    if !options.while_running {
        return Box::new(());
    }
    let why =
        Why::new("the GPU keeps its clocks high between frames, so they need no time to rise")
            .looks_wrong("the driver raises the clocks itself, but only after a frame was late")
            .source(NVML)
            .risk("more power and heat while the command runs");
    Box::new(MaximumPerformance::new(why))
}
