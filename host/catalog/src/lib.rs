//! Classes to resources, stages, edges, exports and the wire JSON. Pure.
