//! Approver and classifier over the registry.
