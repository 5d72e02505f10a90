//! Guests that misbehave, one sentence each.
