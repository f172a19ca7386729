PHP_ARG_ENABLE([hello], [whether to build the hello extension], [  --disable-hello  leave hello out], [yes])
PHP_NEW_EXTENSION([hello], [hello.c], [$ext_shared])
