#include <php.h>

ZEND_BEGIN_ARG_WITH_RETURN_TYPE_INFO_EX(arginfo_hello_greet, 0, 0, IS_STRING, 0)
ZEND_END_ARG_INFO()

PHP_FUNCTION(hello_greet)
{
    ZEND_PARSE_PARAMETERS_NONE();
    RETURN_STRING("Hello from a PHP extension!");
}

static const zend_function_entry hello_functions[] = {
    PHP_FE(hello_greet, arginfo_hello_greet)
    PHP_FE_END
};

zend_module_entry hello_module_entry = {
    STANDARD_MODULE_HEADER,
    "hello",
    hello_functions,
    NULL, NULL, NULL, NULL, NULL,
    "1.0",
    STANDARD_MODULE_PROPERTIES
};

ZEND_GET_MODULE(hello)
