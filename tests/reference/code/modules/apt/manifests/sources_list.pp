# A list of repositories.
define apt::sources_list (Array[String] $lines) {
  file { "/etc/apt/sources.list.d/${name}.list":
    ensure  => file,
    owner   => 'root',
    group   => 'root',
    mode    => '0644',
    content => $lines.map |$line| { "${line}\n" }.join,
    notify  => Exec['apt-get_update'],
  }
}
