//! Calls of the API, against the fewest that could have done the same.

use serde::Serialize;

/// Calls of one method of the API.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodCalls {
    /// The method, as in `devices:claimAsync`.
    pub method: String,
    /// How many calls.
    pub calls: u64,
    /// Devices sent in them, for methods that take batches.
    pub devices: Option<u64>,
    /// The fewest calls that could have carried these devices.
    pub least: Option<u64>,
    /// Calls made for each of the fewest; 1 is perfect.
    pub ratio: Option<f64>,
}

impl MethodCalls {
    /// A method that takes batches of at most `batch_items_max` devices.
    #[must_use]
    pub fn batched(method: &str, calls: u64, devices: u64, batch_items_max: u64) -> Self {
        let least = devices.div_ceil(batch_items_max.max(1));
        Self {
            method: method.to_owned(),
            calls,
            devices: Some(devices),
            least: Some(least),
            ratio: ratio(calls, least),
        }
    }

    /// A method that is about one thing at a time.
    #[must_use]
    pub fn single(method: &str, calls: u64) -> Self {
        Self { method: method.to_owned(), calls, devices: None, least: None, ratio: None }
    }
}

pub(super) fn ratio(calls: u64, least: u64) -> Option<f64> {
    (least > 0).then(|| calls as f64 / least as f64)
}

/// How many devices went out in one call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchSizes {
    /// The smallest.
    pub min: u64,
    /// The middle one; of an even number the lower of the two.
    pub median: u64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub max: u64,
}

impl BatchSizes {
    /// From the size of each batch; `None` if there was none.
    #[must_use]
    pub fn of(mut sizes: Vec<u64>) -> Option<Self> {
        sizes.sort_unstable();
        let (min, max) = (*sizes.first()?, *sizes.last()?);
        let median = sizes[(sizes.len() - 1) / 2];
        let mean = sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
        Some(Self { min, median, mean, max })
    }
}
