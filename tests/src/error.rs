/// Why there is no machine, or no answer from it.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {}
