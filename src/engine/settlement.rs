//! Which result belongs to which command of a batch.
//!
//! By the echoed request alone. The place of a result says nothing for certain: results may be
//! short, doubled or out of order, and a batch that was restored knows only its own lane's part of
//! the operation. What is left over is for a lookup, never guessed.

use crate::model::{DeviceHash, DeviceResult, DeviceVerdict};

use super::device_map::DeviceMap;
use super::mutant::{self, Mutant};

/// Matches results to the devices that were sent; the answer has one entry a device, `None` where
/// no result can be trusted to be about it.
pub(crate) fn settle(
    devices: &[DeviceHash],
    results: Vec<DeviceResult>,
) -> Vec<Option<DeviceVerdict>> {
    if mutant::is(Mutant::PositionalMatching) {
        let verdicts = results.into_iter().map(|result| Some(result.verdict));
        return verdicts.chain(std::iter::repeat(None)).take(devices.len()).collect();
    }
    let in_place = devices.len() == results.len()
        && devices.iter().zip(&results).all(|(device, result)| result.device == Some(*device));
    if in_place {
        return results.into_iter().map(|result| Some(result.verdict)).collect();
    }
    let places: DeviceMap<usize> =
        devices.iter().enumerate().map(|(place, device)| (*device, place)).collect();
    let mut verdicts: Vec<Option<DeviceVerdict>> = vec![None; devices.len()];
    let mut contested = vec![false; devices.len()];
    for result in results {
        let Some(place) = result.device.and_then(|device| places.get(&device)) else { continue };
        match &verdicts[*place] {
            Some(known) if *known != result.verdict => contested[*place] = true,
            Some(_) => {}
            None => verdicts[*place] = Some(result.verdict),
        }
    }
    for (verdict, contested) in verdicts.iter_mut().zip(contested) {
        if contested {
            *verdict = None;
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ok(device: u128) -> DeviceResult {
        let device_id = Some(device.to_string().into());
        DeviceResult {
            device: Some(DeviceHash(device)),
            verdict: DeviceVerdict::Succeeded { device_id },
        }
    }

    fn devices(hashes: &[u128]) -> Vec<DeviceHash> {
        hashes.iter().copied().map(DeviceHash).collect()
    }

    #[test]
    fn a_short_answer_leaves_the_missing_device_open() {
        let settled = settle(&devices(&[1, 2, 3]), vec![ok(1), ok(3)]);
        assert_eq!(settled, [Some(ok(1).verdict), None, Some(ok(3).verdict)]);
    }

    #[test]
    fn a_result_without_an_echo_is_about_nobody_whatever_its_place() {
        let blank = |device| DeviceResult { device: None, ..ok(device) };
        let settled = settle(&devices(&[1, 2]), vec![blank(1), ok(2)]);
        assert_eq!(settled, [None, Some(ok(2).verdict)]);
        let shuffled = settle(&devices(&[1, 2, 3]), vec![ok(2), blank(1), ok(3)]);
        assert_eq!(shuffled, [None, Some(ok(2).verdict), Some(ok(3).verdict)]);
        // As in a part of an operation, after a restart.
        assert_eq!(settle(&devices(&[1]), vec![blank(2)]), [None]);
    }

    #[test]
    fn two_different_answers_about_one_device_are_no_answer() {
        let other = DeviceResult {
            device: Some(DeviceHash(1)),
            verdict: DeviceVerdict::Succeeded { device_id: None },
        };
        assert_eq!(settle(&devices(&[1]), vec![ok(1), other]), [None]);
        assert_eq!(settle(&devices(&[1]), vec![ok(1), ok(1)]), [Some(ok(1).verdict)]);
    }

    proptest! {
        #[test]
        fn no_result_is_ever_given_to_another_device(
            sent in proptest::collection::btree_set(0_u128..60, 1..40),
            answered in proptest::collection::vec(0_u128..80, 0..60),
        ) {
            let sent: Vec<u128> = sent.into_iter().collect();
            let results = answered.iter().copied().map(ok).collect();
            for (device, verdict) in sent.iter().zip(settle(&devices(&sent), results)) {
                let expected = answered.contains(device).then(|| ok(*device).verdict);
                prop_assert_eq!(verdict, expected);
            }
        }
    }
}
