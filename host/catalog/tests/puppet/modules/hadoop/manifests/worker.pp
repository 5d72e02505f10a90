class hadoop::worker($distribution = 'cdh3', $ports = { 'namenode' => 8200 }) {
  class { 'hadoop::apt': stage => 'apt' }
  class { 'hadoop::base': stage => 'hadoop-base' }
  contain hadoop::user
  file { 'hadoop-core-site':
    path    => '/etc/hadoop-0.20/conf.puppet/core-site.xml',
    content => "<configuration/>\n",
    notify  => [Service['hadoop-0.20-datanode'], Service['hadoop-0.20-tasktracker']],
  }
  package { 'hadoop-0.20-datanode': ensure => latest }
  file { '/var/lib/hadoop-0.20/dfs/data/':
    ensure  => directory,
    require => Package['hadoop-0.20-datanode'],
    tag     => ['Storage::Disk', 'data'],
  }
  service { 'hadoop-0.20-datanode':
    ensure  => running,
    require => [File['/var/lib/hadoop-0.20/dfs/data/'], Class['hadoop::user']],
  }
  service { 'hadoop-0.20-tasktracker': ensure => running, subscribe => File['hadoop-core-site'] }
  file { '/etc/hadoop.token': content => Sensitive('t0ken'), mode => '0600', owner => undef }
}
