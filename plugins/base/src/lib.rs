//! Provider: login_allowed and apt.
