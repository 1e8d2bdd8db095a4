//! Which traces are sampled: by `telemetry.sample_one_in`, else by OpenTelemetry's variables.

use opentelemetry::trace::TraceId;

use crate::shell::telemetry::export::Environment;

/// All traces.
const ALL: u64 = 1 << 63;

/// Decides by the id of a trace: the same in every process, and as all SDKs of OpenTelemetry do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampling {
    /// Of 2^63.
    share: u64,
    /// Whether the flags that a record brought decide for it.
    follows_parent: bool,
}

impl Sampling {
    /// What the configuration says, else what the variables do. If they cannot be followed, that
    /// is told in words.
    pub(super) fn new(one_in: Option<u32>, environment: &Environment) -> (Self, Option<String>) {
        let all = Self { share: ALL, follows_parent: true };
        let (name, argument) = match (one_in, environment.sampler()) {
            (Some(one_in), _) => {
                return (Self { share: ALL / u64::from(one_in.max(1)), ..all }, None);
            }
            (None, None) => return (all, None),
            (None, Some(named)) => named,
        };
        let lower = name.to_ascii_lowercase();
        let (base, follows_parent) = match lower.strip_prefix("parentbased_") {
            Some(base) => (base, true),
            None => (lower.as_str(), false),
        };
        let share = match base {
            "always_on" => Ok(ALL),
            "always_off" => Ok(0),
            "traceidratio" => match argument.map(str::parse::<f64>) {
                None => Ok(ALL),
                Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => Ok((ratio * ALL as f64) as u64),
                Some(_) => Err(format!(
                    "OTEL_TRACES_SAMPLER_ARG is {:?}, not a number from 0 to 1; all traces are \
                     sampled",
                    argument.unwrap_or_default()
                )),
            },
            _ => {
                let wrong = "is not known here; traces are sampled as by parentbased_always_on";
                return (all, Some(format!("OTEL_TRACES_SAMPLER {name:?} {wrong}")));
            }
        };
        match share {
            Ok(share) => (Self { share, follows_parent }, None),
            Err(wrong) => (Self { share: ALL, follows_parent }, Some(wrong)),
        }
    }

    /// Whether a trace is sampled; `parent` is what its first record said, if it brought anything.
    pub(super) fn samples(self, trace: TraceId, parent: Option<bool>) -> bool {
        let parent = parent.filter(|_| self.follows_parent);
        parent.unwrap_or_else(|| {
            let mut low = [0; 8];
            low.copy_from_slice(&trace.to_bytes()[8..]);
            u64::from_be_bytes(low) >> 1 < self.share
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::headers::TraceParent;

    fn named(one_in: Option<u32>, variables: &[(&str, &str)]) -> (Sampling, Option<String>) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Sampling::new(one_in, &Environment::of(variables.iter().map(owned)))
    }

    fn traces() -> Vec<TraceId> {
        (0..10_000).map(|n| TraceParent::of(&n.to_string()).trace_id).collect()
    }

    #[test]
    fn one_trace_in_so_many_is_sampled_and_the_same_everywhere() {
        let traces = traces();
        let of = |one_in| named(Some(one_in), &[]).0;
        let sampled = |one_in| traces.iter().filter(|id| of(one_in).samples(**id, None)).count();
        assert_eq!(sampled(1), 10_000);
        assert!((900..1_100).contains(&sampled(10)), "{}", sampled(10));
        let few: Vec<_> = traces.iter().filter(|id| of(100).samples(**id, None)).collect();
        let is_among = |id: &&TraceId| of(10).samples(**id, None);
        assert!(!few.is_empty() && few.iter().all(is_among), "a smaller share is part of it");
        let by_ratio = named(
            None,
            &[
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ],
        );
        assert_eq!(by_ratio, (of(4), None));
    }

    #[test]
    fn samplers_of_opentelemetry_decide_unless_the_configuration_does() {
        let trace = TraceParent::of("trace").trace_id;
        let decided = |name, parent| {
            let (sampling, wrong) = named(None, &[("OTEL_TRACES_SAMPLER", name)]);
            assert_eq!(wrong, None);
            sampling.samples(trace, parent)
        };
        let none_no_yes = |name| [None, Some(false), Some(true)].map(|p| decided(name, p));
        assert_eq!(none_no_yes("always_on"), [true, true, true]);
        assert_eq!(none_no_yes("always_off"), [false, false, false]);
        assert_eq!(none_no_yes("traceidratio"), [true, true, true]);
        assert_eq!(none_no_yes("parentbased_always_on"), [true, false, true]);
        assert_eq!(none_no_yes("parentbased_always_off"), [false, false, true]);
        assert_eq!(none_no_yes("ParentBased_TraceIdRatio"), [true, false, true]);
        let (sampling, _) = named(Some(1), &[("OTEL_TRACES_SAMPLER", "always_off")]);
        assert!(sampling.samples(trace, None), "the configuration wins");
        assert!(!sampling.samples(trace, Some(false)));
    }

    #[test]
    fn a_sampler_that_cannot_be_followed_is_told() {
        let (sampling, wrong) = named(None, &[("OTEL_TRACES_SAMPLER", "jaeger_remote")]);
        assert_eq!(sampling, named(None, &[]).0);
        assert!(wrong.unwrap().contains("\"jaeger_remote\" is not known here"));
        for ratio in ["ten", "-0.1", "1.5", "NaN"] {
            let (sampling, wrong) = named(
                None,
                &[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", ratio)],
            );
            assert_eq!(sampling, Sampling { share: ALL, follows_parent: false });
            assert!(wrong.unwrap().contains(ratio));
        }
    }
}
