//! A Sensitive value that is no JSON is not quoted by the error.

use hostile::*;

struct Hostile;

impl Guest for Hostile {
    fn provide(_: CallContext, _: Request) -> Result<Fragment, Failure> {
        let secret = Parameter { name: "secret".into(), value: Value::Sensitive("hunter2".into()) };
        let resource = CatalogResource {
            resource_type: "File".into(),
            title: "/etc/motd".into(),
            parameters: vec![secret],
            tags: vec![],
            exported: false,
        };
        Ok(Fragment { resources: vec![resource], includes: vec![], stages: vec![], warnings: vec![] })
    }
}

hostile::export!(Hostile);
