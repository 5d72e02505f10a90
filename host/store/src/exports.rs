//! The export store: resources that nodes leave for other nodes to collect.

use serde::Serialize;
use serde_json::Value;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, Row};

use crate::nodes::json;
use crate::{Error, Store};

/// Rows in one INSERT; six values each, well under SQLite's 32,766 (and PostgreSQL's 65,535).
const ROWS: usize = 500;

/// One exported resource. Sensitive parameters never arrive here: `catalog` strips them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportRow {
    /// As catalogs write it, such as `File` or `Nagios::Host`.
    pub resource_type: String,
    /// Its title.
    pub title: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The exporter's environment.
    pub environment: String,
    /// An object.
    pub parameters: Value,
}

/// What to collect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportQuery {
    /// As catalogs write it, such as `File`.
    pub resource_type: String,
    /// Only this title.
    pub title: Option<String>,
    /// Every one must be present; case does not count, as in Puppet's collectors.
    pub tags: Vec<String>,
    /// Only this environment.
    pub environment: Option<String>,
}

/// The last row of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCursor {
    /// Its title.
    pub title: String,
    /// Its exporter.
    pub exported_by: String,
}

/// Exporter, title, environment, tags and parameters, as the query puts them.
type Exported = (String, String, String, Vec<String>, Value);

impl Store {
    /// One page of what nodes' last catalogs export, as (exporter, resource), ordered by title and
    /// exporter. The asking node's own are among them.
    pub async fn exported(
        &self,
        query: &ExportQuery,
        after: Option<&ExportCursor>,
        limit: u32,
    ) -> Result<Vec<(String, ExportRow)>, Error> {
        // One row for the whole page: handing over each row by itself costs more than finding it.
        // (PostgreSQL says json_agg and json_build_array, and needs no json().)
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT json_group_array(json_array(certname, title, environment, json(tags), json(parameters))
                                     ORDER BY title, certname) AS page
             FROM (SELECT certname, title, environment, tags, parameters FROM exports
                   WHERE resource_type = ",
        );
        sql.push_bind(&query.resource_type);
        if let Some(title) = &query.title {
            sql.push(" AND title = ").push_bind(title);
        }
        if let Some(environment) = &query.environment {
            sql.push(" AND environment = ").push_bind(environment);
        }
        for tag in &query.tags {
            sql.push(" AND tags LIKE ").push_bind(pattern(tag)?).push(" ESCAPE '\\'");
        }
        if let Some(ExportCursor { title, exported_by }) = after {
            sql.push(" AND (title, certname) > (")
                .push_bind(title)
                .push(", ")
                .push_bind(exported_by)
                .push(")");
        }
        sql.push(" ORDER BY title, certname LIMIT ").push_bind(i64::from(limit)).push(")");
        let row = sql.build().fetch_one(&mut *self.reader().await?).await?;
        let unreadable = |_| Error::Unreadable { what: format!("exported {}", query.resource_type) };
        let page: Vec<Exported> = serde_json::from_str(row.try_get("page")?).map_err(unreadable)?;
        let export = |(exported_by, title, environment, tags, parameters)| {
            let resource_type = query.resource_type.clone();
            (exported_by, ExportRow { resource_type, title, tags, environment, parameters })
        };
        Ok(page.into_iter().map(export).collect())
    }
}

/// Puts `exports` in the place of all that the node exported before.
pub(crate) async fn replace(
    connection: &mut SqliteConnection,
    certname: &str,
    exports: &[ExportRow],
) -> Result<(), Error> {
    sqlx::query("DELETE FROM exports WHERE certname = $1").bind(certname).execute(&mut *connection).await?;
    for rows in exports.chunks(ROWS) {
        let texts = rows
            .iter()
            .map(|row| Ok((json(&row.tags)?, json(&row.parameters)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut sql = QueryBuilder::<Sqlite>::new(
            "INSERT INTO exports (resource_type, title, certname, environment, tags, parameters) ",
        );
        sql.push_values(rows.iter().zip(texts), |mut values, (row, (tags, parameters))| {
            values
                .push_bind(&row.resource_type)
                .push_bind(&row.title)
                .push_bind(certname)
                .push_bind(&row.environment)
                .push_bind(tags)
                .push_bind(parameters);
        });
        sql.build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Tags are stored as a JSON list, so a tag with its quotes stands for itself and nothing longer.
fn pattern(tag: &str) -> Result<String, Error> {
    let mut pattern = "%".to_owned();
    for character in json(tag)?.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    Ok(pattern)
}
