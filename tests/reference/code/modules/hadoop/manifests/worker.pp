# Datanode and tasktracker.
class hadoop::worker (
  Hash $namenode,
  Hash $jobtracker,
  Hash[String, Hash] $repositories,
  Array[String] $data_dirs = ['/var/lib/hadoop-0.20/dfs/data'],
) {
  class { 'hadoop::apt': repositories => $repositories, stage => 'apt' }
  class { 'hadoop::base': data_dirs => $data_dirs, stage => 'hadoop-base' }
  class { 'hadoop::core_site': namenode => $namenode }
  class { 'hadoop::mapred_site': jobtracker => $jobtracker }

  package { 'hadoop-0.20-datanode': ensure => latest }
  file { $data_dirs:
    ensure  => directory,
    owner   => 'hadoop',
    group   => 'hadoop',
    mode    => '0755',
    require => Package['hadoop-0.20-datanode'],
  }
  package { 'hadoop-0.20-tasktracker': ensure => latest }

  $site = [File['hadoop-core-site']]
  $environment = File['/etc/default/hadoop-0.20']
  hadoop::service { 'hadoop-0.20-datanode':
    files   => $site + [File['/etc/hadoop-0.20/conf.puppet/hdfs-site.xml'], $environment],
    folders => [File[$data_dirs]].flatten,
  }
  hadoop::service { 'hadoop-0.20-tasktracker':
    files => $site + [File['hadoop-mapred-site'], $environment],
  }
}
