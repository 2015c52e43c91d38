"""Weight fixing as this pipeline runs it: the library's rounds, measured one by one."""
