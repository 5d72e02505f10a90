class hadoop::apt {
  contain apt::update
  file { '/etc/apt/cloudera.key': content => "key\n", notify => Exec['import apt key cloudera'] }
  exec { 'import apt key cloudera': command => '/usr/bin/apt-key add /etc/apt/cloudera.key', refreshonly => true }
}
