//! Chains of plugins and what their answers add up to. Pure.
