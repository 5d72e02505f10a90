//! A node definition: the YAML that an external node classifier prints.
