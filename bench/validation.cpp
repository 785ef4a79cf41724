// The validation of one file by simdjson: what CPU it takes at least. Prints CPU seconds.
//
// Each line is parsed once, on demand: the fields that the rules ask for are read, UTF-8 is
// checked over the whole line, and every custom_id is remembered.

#include <simdjson.h>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace {

using simdjson::ondemand::json_type;

constexpr std::size_t kChunk = 1024 * 1024;
constexpr std::string_view kUrl = "/v1/chat/completions";

struct Check {
  simdjson::ondemand::parser parser;
  std::unordered_set<std::string> ids;
  std::string model;
  std::size_t lines = 0;

  bool body(simdjson::ondemand::object body, bool& is_asked) {
    bool names_model = false;
    for (auto field : body) {
      std::string_view key = field.unescaped_key();
      if (key == "model") {
        std::string_view asked = field.value().get_string();
        names_model = asked == model;
      } else if (key == "messages") {
        is_asked = field.value().type() == json_type::array;
      } else if (key == "stream" || key == "enable_thinking") {
        return false;
      }
    }
    return names_model;
  }

  bool line(const char* data, std::size_t size, std::size_t capacity) {
    bool has_id = false, is_post = false, is_here = false, is_asked = false, is_known = false;
    auto document = parser.iterate(simdjson::padded_string_view(data, size, capacity));
    for (auto field : document.get_object()) {
      std::string_view key = field.unescaped_key();
      if (key == "custom_id") {
        std::string_view id = field.value().get_string();
        has_id = !id.empty() && ids.emplace(id).second;
      } else if (key == "method") {
        is_post = std::string_view(field.value().get_string()) == "POST";
      } else if (key == "url") {
        is_here = std::string_view(field.value().get_string()) == kUrl;
      } else if (key == "body") {
        is_known = body(field.value().get_object(), is_asked);
      }
    }
    ++lines;
    return has_id && is_post && is_here && is_asked && is_known;
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
    const char* last = buffer.data() + buffer.size();
    while (const void* found = std::memchr(at, '\n', static_cast<std::size_t>(end - at))) {
      const char* newline = static_cast<const char*>(found);
      const auto size = static_cast<std::size_t>(newline - at);
      if (size > 0 && !check.line(at, size, static_cast<std::size_t>(last - at))) return 1;
      at = newline + 1;
    }
    held = static_cast<std::size_t>(end - at);
    std::memmove(buffer.data(), at, held);
  }
  std::fclose(file);
  if (held > 0 && !check.line(buffer.data(), held, buffer.size())) return 1;
  return check.lines > 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const int status = run(arguments[1], arguments[2]);
  if (status == 0) std::printf("%.6f\n", static_cast<double>(std::clock()) / CLOCKS_PER_SEC);
  return status;
}
