//! The contract as a component sees it: bindings, the host behind a [`crate::Call`], and the glue
//! between the contract's types and this crate's. Only [`crate::export!`] uses it.
//!
//! Each kind is a world of its own that exports one interface, so that the type sections of exactly
//! the exported kinds end up in the module; `wit-component` unites them.

mod arena;
mod convert;
mod imports;

use std::marker::PhantomData;

pub use arena::Arena;
pub use imports::Imports;

/// The contract's imports. What a plugin does not call is dropped when the component is made.
#[allow(missing_docs, clippy::all, clippy::restriction, reason = "generated code")]
pub(crate) mod contract {
    wit_bindgen::generate!({
        inline: "
            package bunraku:sdk;
            world imports {
                import bunraku:plugin/types@0.1.0;
                import bunraku:plugin/log@0.1.0;
                import bunraku:plugin/clock@0.1.0;
                import bunraku:plugin/facts@0.1.0;
                import bunraku:plugin/object-store@0.1.0;
                import bunraku:plugin/stored-config@0.1.0;
            }
        ",
        path: "../../wit",
        generate_all,
    });
}

macro_rules! exported_world {
    ($module:ident, $world:literal, $wit:literal) => {
        #[allow(missing_docs, clippy::all, clippy::restriction, reason = "generated code")]
        pub mod $module {
            wit_bindgen::generate!({
                inline: $wit,
                path: "../../wit",
                world: $world,
                pub_export_macro: true,
                generate_all,
                with: {
                    "bunraku:plugin/types@0.1.0": crate::guest::contract::bunraku::plugin::types,
                },
            });
        }
    };
}

exported_world!(
    manifest,
    "manifest",
    "package bunraku:sdk; world manifest { export bunraku:plugin/manifest@0.1.0; }"
);
exported_world!(
    approver,
    "approver",
    "package bunraku:sdk; world approver { export bunraku:plugin/csr-approval@0.1.0; }"
);
exported_world!(
    classifier,
    "classifier",
    "package bunraku:sdk; world classifier { export bunraku:plugin/node-classification@0.1.0; }"
);
exported_world!(
    provider,
    "provider",
    "package bunraku:sdk; world provider { export bunraku:plugin/resource-provision@0.1.0; }"
);

/// Implements the contract's exports for a plugin.
pub struct Guest<P>(PhantomData<P>);
