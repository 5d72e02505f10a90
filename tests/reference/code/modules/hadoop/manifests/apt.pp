# Where the packages of Hadoop and of Java come from.
class hadoop::apt (Hash[String, Hash] $repositories) {
  include apt::apt
  $repositories.each |$name, $repository| {
    if $repository['key'] {
      apt::key { $name: content => $repository['key'] }
    }
  }
  $repositories.each |$name, $repository| {
    apt::sources_list { $name: lines => $repository['lines'] }
  }
}
