//! The protocol: PODs, messages that daemons have sent, and daemons that misbehave.

mod captures;
mod hostile;
mod pods;
