use std::path::PathBuf;
use std::time::Duration;

/// Every bound of the sandbox. The defaults suit a master on two cores.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where compiled components are kept between starts; none compiles anew each time.
    pub cache_dir: Option<PathBuf>,
    /// Calls that may run at once, over all plugins. More of them wait.
    pub slots: u32,
    /// Calls of one plugin that may run at once, so that those of a plugin that
    /// is stuck leave slots to the others.
    pub slots_per_plugin: u32,
    /// Bytes of linear memory that one call may hold, all its memories together.
    pub memory_bytes: usize,
    /// How long a call may take, instantiation included, not counting the time
    /// that it waits for the host. A call waits as long again for a free slot.
    pub deadline: Duration,
    /// How long all host calls of one call may take together. What comes later
    /// is answered with [`HostError::Unavailable`](crate::HostError::Unavailable).
    pub host_time: Duration,
    /// Bytes that a guest may hand to the host at once: its answer, or the
    /// arguments of one host call.
    pub output_bytes: usize,
    /// Log lines of one call; what comes later is counted and dropped.
    pub log_lines: u32,
    /// Bytes of one log line, fields included; what is longer is cut.
    pub log_line_bytes: usize,
    /// Host calls of one call, log and clock not counted.
    pub host_calls: u32,
    /// HTTP requests of one call that are under way, or answered and not yet read to their end.
    pub http_requests: u32,
    /// Bytes of the body of one HTTP request.
    pub http_request_bytes: usize,
    /// Bytes of the body of its response.
    pub http_response_bytes: usize,
    /// Bytes of a component that is loaded.
    pub component_bytes: usize,
    /// How long compiling a component may take.
    pub compile_deadline: Duration,
    /// How long each of `describe` and `classes` may take while loading.
    pub load_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            cache_dir: None,
            slots: 64,
            slots_per_plugin: 24,
            memory_bytes: 64 << 20,
            deadline: Duration::from_millis(100),
            host_time: Duration::from_secs(2),
            output_bytes: 8 << 20,
            log_lines: 100,
            log_line_bytes: 2048,
            host_calls: 1000,
            http_requests: 4,
            http_request_bytes: 1 << 20,
            http_response_bytes: 4 << 20,
            component_bytes: 64 << 20,
            compile_deadline: Duration::from_secs(60),
            load_deadline: Duration::from_secs(1),
        }
    }
}
