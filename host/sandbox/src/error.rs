use crate::Failure;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine refuses these settings, or the system lacks address space.
    #[error("the WebAssembly engine did not start: {0}")]
    Engine(String),
    /// The thread that ends calls at their deadline did not start.
    #[error("the sandbox's clock thread did not start: {0}")]
    Thread(#[source] std::io::Error),
}

/// Why a component is not a plugin that can be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are something else; the text says what.
    #[error("not a WebAssembly component but {0}")]
    NotAComponent(&'static str),
    /// More bytes than [`Settings::component_bytes`](crate::Settings::component_bytes).
    #[error("the component has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is loaded.
        limit: usize,
    },
    /// Built against another version of the contract.
    #[error("built for {found}, this host speaks {wanted}: rebuild the plugin against {wanted}")]
    WrongVersion {
        /// The first import or export of another version, with its version.
        found: String,
        /// What this host speaks, such as `bunraku:plugin@0.1.0`.
        wanted: String,
    },
    /// The component lacks exports that every plugin has, or needs imports that no plugin gets.
    #[error("not a bunraku plugin: {}", wrong_world(missing, unknown_imports))]
    WrongWorld {
        /// Exports that are not there.
        missing: Vec<String>,
        /// Imports that this host does not know.
        unknown_imports: Vec<String>,
    },
    /// The names are right and the types behind them are not.
    #[error("an interface of this plugin differs from the contract: {0}")]
    WrongTypes(String),
    /// Neither approver nor classifier nor provider.
    #[error(
        "the plugin has no kind: it exports none of csr-approval, node-classification, resource-provision"
    )]
    NoKind,
    /// The bytes are malformed, ask for more memories or tables than a slot
    /// has, or take too long to compile.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// Another component is still being compiled.
    #[error("another plugin is still being compiled: try again later")]
    Busy,
    /// `describe` or `classes` ended badly.
    #[error("{function}() at load: {error}")]
    Describe {
        /// Which of them.
        function: &'static str,
        /// How it ended.
        error: CallError,
    },
    /// What the plugin says of itself makes no sense.
    #[error("the plugin's own description is wrong: {0}")]
    Metadata(String),
}

/// Why a call has no answer. None of these is a "no".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The plugin says that it could not answer.
    #[error("{0}")]
    Failure(Failure),
    /// The guest crashed.
    #[error("trap: {0}")]
    Trap(String),
    /// The deadline passed.
    #[error("timeout: no answer within {0} ms")]
    Timeout(u128),
    /// The guest ended after it was refused more memory.
    #[error("memory: the plugin asked for more than {0} bytes")]
    Memory(usize),
    /// The guest handed over more than [`Settings::output_bytes`](crate::Settings::output_bytes).
    #[error("output-too-large: the plugin handed over more than {0} bytes")]
    Output(usize),
    /// The guest used up its host calls.
    #[error("budget: more than {limit} {what}")]
    Budget {
        /// What was counted.
        what: &'static str,
        /// How many were allowed.
        limit: u32,
    },
    /// No slot became free within the deadline.
    #[error("busy: {0}")]
    Busy(Taken),
    /// The answer is well-typed and nonsense; the text says where.
    #[error("invalid answer: {0}")]
    Invalid(String),
    /// The plugin is not of this kind.
    #[error("the plugin exports no {0}")]
    NotExported(&'static str),
}

/// Whose slots stayed taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// The plugin's share: its other calls are stuck, or too many.
    #[error("all {0} slots of the plugin stayed taken")]
    Plugin(u32),
    /// All of them.
    #[error("all {0} slots of the sandbox stayed taken")]
    Sandbox(u32),
}

impl CallError {
    /// One word for journals and gauges, such as `timeout`.
    pub fn kind(&self) -> &'static str {
        match self {
            CallError::Failure(failure) => failure.kind(),
            CallError::Trap(_) => "trap",
            CallError::Timeout(_) => "timeout",
            CallError::Memory(_) => "memory",
            CallError::Output(_) => "output-too-large",
            CallError::Budget { .. } => "budget",
            CallError::Busy(_) => "busy",
            CallError::Invalid(_) => "invalid-answer",
            CallError::NotExported(_) => "not-exported",
        }
    }
}

fn wrong_world(missing: &[String], unknown_imports: &[String]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("it does not export {}", missing.join(", ")));
    }
    if !unknown_imports.is_empty() {
        parts.push(format!("it imports {}, unknown to this host", unknown_imports.join(", ")));
    }
    parts.join("; ")
}
