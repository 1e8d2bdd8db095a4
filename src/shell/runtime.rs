//! How many threads the process works with: one for each core that it may use, up to a few.
//!
//! In a pod the cores are those of the container: its CPU limit (the quota of the cgroup, v1 or
//! v2) and the cores that it is pinned to count, not the cores of the node. Threads of librdkafka
//! and of the admin server come on top; they are the same everywhere, and mostly wait.

use std::num::NonZero;
use std::{io, thread};

use tokio::runtime::{Builder, Runtime};

/// More would only cost memory: the API's quota lets through what one core does with ease.
const THREADS_MAX: usize = 4;

/// A runtime with threads for the cores that this process may use.
///
/// # Errors
/// Threads cannot be started.
pub fn new() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads(cores())).enable_all().build()
}

/// What a start says of it.
pub fn log(runtime: &Runtime) {
    let threads = runtime.metrics().num_workers();
    tracing::info!(cores = cores(), threads, "sized to the cores that this process may use");
}

/// Whole cores, at least one.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

fn threads(cores: usize) -> usize {
    cores.clamp(1, THREADS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_thread_for_each_core_up_to_a_few() {
        let threads: Vec<usize> = [1, 2, 4, 64].map(threads).into();
        assert_eq!(threads, [1, 2, 4, 4]);
        assert_eq!(new().unwrap().metrics().num_workers(), super::threads(cores()));
    }
}
