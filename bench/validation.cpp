// The validation of one file by simdjson: what CPU it takes at least. Prints CPU seconds, and ends
// with 1 where a line is no good.
//
// Each line is parsed once and whole: what nobody asks for has to be JSON as well, and in UTF-8.
// (simdjson's other way, on demand, does not look at what it skips: a missing comma passes.)
// The fields that the rules ask for are read, and every custom_id is remembered.

#include <simdjson.h>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace {

using simdjson::dom::element_type;

constexpr std::size_t kChunk = 1024 * 1024;
constexpr std::string_view kUrl = "/v1/chat/completions";

struct Check {
  simdjson::dom::parser parser;
  std::unordered_set<std::string> ids;
  std::string_view model;
  std::size_t lines = 0;

  bool body(simdjson::dom::object body) const {
    bool names_model = false, is_asked = false;
    for (auto [key, value] : body) {
      if (key == "model") {
        names_model = std::string_view(value) == model;
      } else if (key == "messages") {
        is_asked = value.type() == element_type::ARRAY;
      } else if (key == "stream" || key == "enable_thinking") {
        return false;
      }
    }
    return names_model && is_asked;
  }

  // The bytes behind the line belong to the buffer, as far as simdjson may read beyond it.
  bool line(const char* data, std::size_t size) {
    bool has_id = false, is_post = false, is_here = false, is_good = false;
    simdjson::dom::object line = parser.parse(data, size, false);
    for (auto [key, value] : line) {
      if (key == "custom_id") {
        std::string_view id = value;
        has_id = !id.empty() && ids.emplace(id).second;
      } else if (key == "method") {
        is_post = std::string_view(value) == "POST";
      } else if (key == "url") {
        is_here = std::string_view(value) == kUrl;
      } else if (key == "body") {
        is_good = body(value);
      }
    }
    ++lines;
    return has_id && is_post && is_here && is_good;
  }
};

int run(const char* path, const char* model) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return 2;
  std::setvbuf(file, nullptr, _IONBF, 0);
  Check check;
  check.model = model;
  std::vector<char> buffer(kChunk + simdjson::SIMDJSON_PADDING);
  std::size_t held = 0;
  while (true) {
    if (buffer.size() - simdjson::SIMDJSON_PADDING - held < kChunk) buffer.resize(buffer.size() * 2);
    const std::size_t got = std::fread(buffer.data() + held, 1, kChunk, file);
    if (got == 0) break;
    const char* at = buffer.data();
    const char* end = at + held + got;
    while (const void* found = std::memchr(at, '\n', static_cast<std::size_t>(end - at))) {
      const char* newline = static_cast<const char*>(found);
      const auto size = static_cast<std::size_t>(newline - at);
      if (size > 0 && !check.line(at, size)) return 1;
      at = newline + 1;
    }
    held = static_cast<std::size_t>(end - at);
    std::memmove(buffer.data(), at, held);
  }
  std::fclose(file);
  if (held > 0 && !check.line(buffer.data(), held)) return 1;
  return check.lines > 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  int status = 1;
  try {
    status = run(arguments[1], arguments[2]);
  } catch (const simdjson::simdjson_error& fault) {
    std::fprintf(stderr, "%s\n", fault.what());
  }
  if (status == 0) std::printf("%.6f\n", static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
  return status;
}
