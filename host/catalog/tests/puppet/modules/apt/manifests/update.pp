class apt::update {
  exec { 'apt-get_update': command => '/usr/bin/apt-get update', refreshonly => true, tries => 3 }
}
