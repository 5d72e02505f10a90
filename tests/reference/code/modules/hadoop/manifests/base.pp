# What each role needs before its own packages: Java, Hadoop, and configuration without addresses.
class hadoop::base (
  Array[String] $name_dirs = ['/var/lib/hadoop-0.20/dfs/name'],
  Array[String] $data_dirs = ['/var/lib/hadoop-0.20/dfs/data'],
  Integer $replication = 3,
  Integer $heap_mb = 1000,
) {
  $conf = '/etc/hadoop-0.20/conf.puppet'
  $seeds = '/var/cache/debconf/sun-java6.seeds'
  File { owner => 'root', group => 'root' }

  file { $seeds:
    ensure  => file,
    mode    => '0644',
    content => ['bin', 'jdk', 'jre'].map |$part| { "sun-java6-${part} shared/accepted-sun-dlj-v1-1 boolean true\n" }.join,
  }
  package { 'sun-java6-bin':
    ensure       => latest,
    responsefile => $seeds,
    require      => File[$seeds],
  }
  package { 'hadoop-0.20':
    ensure  => latest,
    require => Package['sun-java6-bin'],
  }
  file { '/var/lib/hadoop-0.20/dfs':
    ensure  => directory,
    owner   => 'hadoop',
    group   => 'hadoop',
    mode    => '0755',
    require => Package['hadoop-0.20'],
  }
  file { $conf:
    ensure  => directory,
    mode    => '0755',
    require => Package['hadoop-0.20'],
  }
  file { "${conf}/hdfs-site.xml":
    ensure  => file,
    mode    => '0644',
    content => epp('hadoop/site.xml.epp', { 'properties' => {
      'dfs.data.dir'    => $data_dirs.join(','),
      'dfs.name.dir'    => $name_dirs.join(','),
      'dfs.replication' => $replication,
    } }),
  }
  exec { "/usr/sbin/update-alternatives --install /etc/hadoop-0.20/conf hadoop-0.20-conf ${conf} 15":
    command     => "update-alternatives --install /etc/hadoop-0.20/conf hadoop-0.20-conf ${conf} 15",
    path        => '/usr/sbin:/usr/bin:/sbin:/bin',
    refreshonly => true,
    subscribe   => File[$conf],
  }
  file { '/etc/default/hadoop-0.20':
    ensure  => file,
    mode    => '0644',
    content => @("ENVIRONMENT"),
      # Managed by Puppet: changes made here are lost.
      export HADOOP_HOME=/usr/lib/hadoop-0.20
      export HADOOP_CONF_DIR=/etc/hadoop-0.20/conf
      export HADOOP_LOG_DIR=/var/log/hadoop-0.20
      export HADOOP_PID_DIR=/var/run/hadoop-0.20
      export HADOOP_IDENT_STRING=hadoop
      export HADOOP_HEAPSIZE=${heap_mb}
      | ENVIRONMENT
    require => Package['hadoop-0.20'],
  }
}
