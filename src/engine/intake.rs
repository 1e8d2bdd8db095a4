//! Order event in, commands, outcomes or a dead letter out.
