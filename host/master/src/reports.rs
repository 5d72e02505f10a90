//! Facts and reports: what nodes tell of themselves. Nothing in them names the
//! node; its certificate does.

use bytes::Bytes;
use pki::Certname;
use serde_json::Value;
use time::OffsetDateTime;

use crate::{Failed, Master};

impl Master {
    /// Stores facts that a node uploads outside a run.
    ///
    /// # Errors
    /// 400 where the facts are another node's; 503 when the store fails.
    pub async fn save_facts(&self, certname: &Certname, facts: Value) -> Result<(), Failed> {
        let at = OffsetDateTime::now_utc().unix_timestamp();
        Ok(self.parts.store.save_facts(certname.as_str(), &clean(facts), at).await?)
    }

    /// Stores a run's report.
    ///
    /// # Errors
    /// 400 where it is no report; 403 where it is another node's; 503 when the
    /// store fails.
    pub async fn save_report(&self, certname: &Certname, body: Bytes) -> Result<(), Failed> {
        let report: ReportHead = serde_json::from_slice(&body)
            .map_err(|e| Failed::bad_request(format!("this is no report in JSON: {e}")))?;
        if report.host != certname.as_str() {
            return Err(Failed::forbidden(format!("a report of {:?} sent by {certname}", report.host)));
        }
        let at = OffsetDateTime::now_utc().unix_timestamp();
        tracing::info!(%certname, status = %report.status, "report");
        Ok(self.parts.store.save_report(certname.as_str(), at, &report.status, &body).await?)
    }
}

/// What we read of a report (format 12, protocol page §6).
#[derive(serde::Deserialize)]
struct ReportHead {
    host: String,
    #[serde(default)]
    status: String,
}

/// Takes out of facts what must never be stored or handed on: credentials that
/// a cloud's metadata service gives an instance (CVE-2015-1426), and the names
/// that only a certificate may give (`trusted`, `certname`).
pub fn clean(mut facts: Value) -> Value {
    if let Value::Object(map) = &mut facts {
        for forged in ["trusted", "certname", "clientcert"] {
            map.remove(forged);
        }
        map.retain(|name, _| !(name.starts_with("ec2_") && name.contains("security_credentials")));
        if let Some(iam) =
            map.get_mut("ec2_metadata").and_then(|m| m.get_mut("iam")).and_then(Value::as_object_mut)
        {
            iam.remove("security-credentials");
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // CVE-2015-1426; faults row 66.
    #[test]
    fn facts_bring_neither_credentials_nor_an_identity() {
        let sent = json!({
            "os": {"family": "Debian"},
            "trusted": {"certname": "other"},
            "clientcert": "other",
            "ec2_metadata": {"iam": {"info": "x", "security-credentials": {"role": {"SecretAccessKey": "s"}}}},
            "ec2_iam_security_credentials_role": "s",
        });
        let kept = json!({"os": {"family": "Debian"}, "ec2_metadata": {"iam": {"info": "x"}}});
        assert_eq!(clean(sent), kept);
    }
}
