//! The macro that makes a component of a plugin crate.

/// Exports a plugin: `sdk::export!(MyPlugin: approver, classifier, provider);` with the kinds it
/// implements, at least one, once in the crate.
///
/// In a component it exports exactly those interfaces of the contract and makes
/// the arena the global allocator. On any other target it only checks that the traits are
/// implemented, so that the crate's tests run natively.
#[macro_export]
macro_rules! export {
    ($plugin:ty : $($kind:ident),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        #[global_allocator]
        static __BUNRAKU_ARENA: $crate::guest::Arena = $crate::guest::Arena::new();
        #[cfg(target_arch = "wasm32")]
        type __BunrakuGuest = $crate::guest::Guest<$plugin>;
        #[cfg(target_arch = "wasm32")]
        $crate::guest::manifest::export!(__BunrakuGuest with_types_in $crate::guest::manifest);
        $($crate::__export_kind!($plugin, $kind);)+
    };
}

/// One kind of [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export_kind {
    ($plugin:ty, approver) => {
        #[cfg(target_arch = "wasm32")]
        $crate::guest::approver::export!(__BunrakuGuest with_types_in $crate::guest::approver);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Call, &$crate::Csr) -> Result<$crate::Verdict, $crate::Failure> =
            <$plugin as $crate::CsrApprover>::decide;
    };
    ($plugin:ty, classifier) => {
        #[cfg(target_arch = "wasm32")]
        $crate::guest::classifier::export!(__BunrakuGuest with_types_in $crate::guest::classifier);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Call, &$crate::Node) -> Result<$crate::Outcome, $crate::Failure> =
            <$plugin as $crate::NodeClassifier>::classify;
    };
    ($plugin:ty, provider) => {
        #[cfg(target_arch = "wasm32")]
        $crate::guest::provider::export!(__BunrakuGuest with_types_in $crate::guest::provider);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Call, &$crate::Request) -> Result<$crate::Fragment, $crate::Failure> =
            <$plugin as $crate::ResourceProvider>::provide;
    };
    ($plugin:ty, $other:ident) => {
        ::core::compile_error!(::core::concat!(
            "unknown kind `", ::core::stringify!($other), "`: approver, classifier or provider"
        ));
    };
}
