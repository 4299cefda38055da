#ifndef TM_COMMON_XML_H
#define TM_COMMON_XML_H
/*
 * Reads small XML documents, such as the answers of object stores.
 *
 *     static int take(const char *path, const char *text, void *arg, struct tm_err *err);
 *     xml_read(bytes, take, arg, err);
 *
 * `take` is called at the end of every element, inner ones first, with where it stands
 * ("ListBucketResult/Contents/Key", no namespaces) and the text directly inside it, as written (for
 * an element that only holds others: the white space behind the last). The end of an element is thus
 * also the sign that all of a group has come. Attributes are not told. Both texts are valid during
 * the call. A negative result of `take` ends the reading with that error.
 *
 * The document is somebody else's: longer, deeper or with longer texts than the bounds here, with a
 * document type (entities), or not well formed is TM_E_CORRUPT. Messages never quote the document.
 * Thread safe.
 */
#include "common/buf.h"
#include "common/err.h"

#define XML_BYTES_MAX ((size_t)16 << 20)
#define XML_DEPTH_MAX 16
#define XML_PATH_MAX  512
#define XML_TEXT_MAX  8192

typedef int xml_take(const char *path, const char *text, void *arg, struct tm_err *err);

int xml_read(struct slice document, xml_take *take, void *arg, struct tm_err *err) TM_WUR;

/* The text of the first element at `path`, cut to size; false, and "", when there is none or the
 * document is none. For answers that say what went wrong. */
bool xml_text(struct slice document, const char *path, char *text, size_t size);

#endif
