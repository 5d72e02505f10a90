//! A catalog of 300,000 empty resources counts by its elements, not by its text.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn provide(_: CallContext, _: Request) -> Result<Fragment, Failure> {
        let nothing = || CatalogResource {
            resource_type: String::new(),
            title: String::new(),
            parameters: vec![],
            tags: vec![],
            exported: false,
        };
        let resources = (0..300_000).map(|_| nothing()).collect();
        Ok(Fragment { resources, includes: vec![], stages: vec![], warnings: vec![] })
    }
}

hostile::export!(Hostile);
