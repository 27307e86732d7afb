//! The file `meta.properties`: whose log directory this is (Kafka: `MetaProperties`, `MetaPropertiesEnsemble`).

use std::path::{Path, PathBuf};

use super::StorageError;
use super::checkpoint::{read_optional, replace};
use crate::runtime::Disk;
use crate::types::{BrokerId, Uuid};

/// The name of the file in each log directory.
pub const META_PROPERTIES: &str = "meta.properties";

/// Whose log directory this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster, 22 characters of base64url as a rule.
    pub cluster_id: String,
    /// The node.
    pub node_id: BrokerId,
    /// The directory: never two with one id.
    pub directory_id: Uuid,
}

impl MetaProperties {
    /// Reads it from a log directory; `None` where the directory was never formatted.
    ///
    /// # Errors
    /// `Io`, or `Corrupt` where a value is missing or not what it should be.
    pub async fn read(disk: &dyn Disk, log_dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = log_dir.join(META_PROPERTIES);
        match read_optional(disk, &path).await? {
            Some(content) => Self::parse(&path, &content).map(Some),
            None => Ok(None),
        }
    }

    /// Replaces it, durably.
    ///
    /// # Errors
    /// `Io`.
    pub async fn write(&self, disk: &dyn Disk, log_dir: &Path) -> Result<(), StorageError> {
        replace(disk, &log_dir.join(META_PROPERTIES), self.text()).await
    }

    fn text(&self) -> String {
        format!(
            "#\ncluster.id={}\ndirectory.id={}\nnode.id={}\nversion=1\n",
            self.cluster_id, self.directory_id, self.node_id
        )
    }

    /// Reads the file's text. Java escapes before `:` and `=` are undone; other escapes do not occur in these values.
    fn parse(path: &Path, content: &[u8]) -> Result<Self, StorageError> {
        let corrupt = |why: String| StorageError::corrupt(path, 0, why);
        let text =
            std::str::from_utf8(content).map_err(|_| corrupt("it is not text".to_owned()))?;
        let value = |key: &str| {
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
            let mut pairs = lines.filter_map(|line| line.split_once('='));
            let found = pairs.find(|(name, _)| name.trim() == key);
            found.map(|(_, value)| value.trim().replace('\\', ""))
        };
        let need = |key: &str| value(key).ok_or_else(|| corrupt(format!("{key} is missing")));
        if need("version")? != "1" {
            return Err(corrupt("version should be 1".to_owned()));
        }
        let node_id = need("node.id")?.parse().ok().and_then(BrokerId::from_wire);
        let node_id = node_id.ok_or_else(|| corrupt("node.id should be a number".to_owned()))?;
        let directory_id = Uuid::parse(&need("directory.id")?)
            .ok_or_else(|| corrupt("directory.id should be 22 characters of base64url".into()))?;
        Ok(Self { cluster_id: need("cluster.id")?, node_id, directory_id })
    }

    /// Whether this directory belongs to `node_id`, and to `cluster_id` where that is known.
    ///
    /// # Errors
    /// `Foreign`, saying who owns it.
    pub fn check(
        &self,
        log_dir: &Path,
        node_id: BrokerId,
        cluster_id: Option<&str>,
    ) -> Result<(), StorageError> {
        let path: PathBuf = log_dir.join(META_PROPERTIES);
        if self.node_id != node_id {
            let why = format!("it belongs to node {}, this is node {node_id}", self.node_id);
            return Err(StorageError::Foreign { path, why });
        }
        match cluster_id {
            Some(ours) if ours != self.cluster_id => {
                let why = format!("it belongs to cluster {}, not to {ours}", self.cluster_id);
                Err(StorageError::Foreign { path, why })
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_text_and_kafkas() {
        let ours = MetaProperties {
            cluster_id: "4L6g3nShT-eMCtK--X86sw".into(),
            node_id: BrokerId::new(3),
            directory_id: Uuid::METADATA_TOPIC,
        };
        let path = Path::new("/d/meta.properties");
        assert_eq!(MetaProperties::parse(path, ours.text().as_bytes()).unwrap(), ours);
        let kafkas = "#\n#Sat Jan 31 12:00:00 UTC 2026\nnode.id=3\nversion=1\n\
             directory.id=AAAAAAAAAAAAAAAAAAAAAQ\ncluster.id=4L6g3nShT-eMCtK--X86sw\n";
        assert_eq!(MetaProperties::parse(path, kafkas.as_bytes()).unwrap(), ours);
    }

    #[test]
    fn another_nodes_directory_is_refused_in_four_lines() {
        let other = MetaProperties {
            cluster_id: "c".into(),
            node_id: BrokerId::new(2),
            directory_id: Uuid::METADATA_TOPIC,
        };
        let error = other.check(Path::new("/d"), BrokerId::new(1), Some("c")).unwrap_err();
        assert_eq!(error.to_string().lines().count(), 4);
        assert!(error.to_string().contains("it belongs to node 2, this is node 1"));
        assert!(other.check(Path::new("/d"), BrokerId::new(2), Some("d")).is_err());
        assert!(other.check(Path::new("/d"), BrokerId::new(2), Some("c")).is_ok());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        for text in ["", "version=1", "version=0\nnode.id=1", "version=1\nnode.id=-1\ncluster.id=x"]
        {
            assert!(MetaProperties::parse(Path::new("/d"), text.as_bytes()).is_err(), "{text}");
        }
    }
}
