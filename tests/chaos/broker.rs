//! The broker is stopped, killed and restarted under load.
