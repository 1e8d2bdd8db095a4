//! A double of the reseller API with devices in memory, for staging and tests.
