# The package lists, updated once however many things ask for it.
class apt::apt {
  exec { 'apt-get_update':
    command     => '/usr/bin/apt-get update',
    refreshonly => true,
    tries       => 3,
    try_sleep   => 5,
  }
}
