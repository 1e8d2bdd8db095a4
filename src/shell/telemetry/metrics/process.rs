//! Memory and CPU time of this process, as Linux tells them.

use std::fs;

/// Ticks of a second in `/proc`: `USER_HZ`, which Linux keeps at 100 on all machines.
const TICKS: f64 = 100.0;

/// What Linux says of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) resident_bytes: f64,
    pub(super) cpu_seconds: f64,
    /// Since 1970.
    pub(super) started: f64,
}

/// Asks; `None` where there is no `/proc`.
pub(super) fn read() -> Option<Process> {
    let of = |name: &str| fs::read_to_string(format!("/proc/{name}")).ok();
    parse(&of("self/status")?, &of("self/stat")?, &of("stat")?)
}

fn parse(status: &str, stat: &str, machine: &str) -> Option<Process> {
    let line = |text: &str, name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    // The second field is the name of the program, which may hold blanks and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> Option<f64> { fields.get(index)?.parse().ok() };
    Some(Process {
        resident_bytes: line(status, "VmRSS:")? * 1_024.0,
        cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS,
        started: line(machine, "btime ")? + ticks(19)? / TICKS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_program_is_called() {
        let status = "Name:\ta b) c\nVmHWM:\t   9 kB\nVmRSS:\t   2048 kB\n";
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 4 0 5000 1 2";
        let process = parse(status, stat, "cpu 1 2\nbtime 1700000000\n").unwrap();
        let expected =
            Process { resident_bytes: 2_097_152.0, cpu_seconds: 4.0, started: 1_700_000_050.0 };
        assert_eq!(process, expected);
        assert_eq!(parse("", stat, "btime 1"), None);
    }
}
