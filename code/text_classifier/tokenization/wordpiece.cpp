// BERT's tokenizer for ASCII characters, with the results of the tokenizers library: clean, lowercase, split at white
// space and around punctuation, then greedy longest-match WordPiece. Called by wordpiece.py.

#include <stdint.h>
#include <string.h>

#include <vector>

namespace {

constexpr int32_t NONE = -1;

// The vocabulary as a trie, whose edges are a hash table from (node, character) to a node.
class Trie {
public:
    explicit Trie(int64_t characters) {
        uint32_t size = 16;
        while (size < 2 * characters + 2) size *= 2;
        edges.resize(size, Edge{0, 0});
        mask = size - 1;
        ids.push_back(NONE);
    }

    void add(const char *token, int64_t length, int32_t id) {
        uint32_t node = 0;
        for (int64_t i = 0; i < length; i++) {
            Edge &edge = find(node, token[i]);
            if (!edge.node) {
                edge = {key(node, token[i]), static_cast<uint32_t>(ids.size())};
                ids.push_back(NONE);
            }
            node = edge.node;
        }
        ids[node] = id;
    }

    // The child node, or 0, the root, if there is none.
    uint32_t next(uint32_t node, char character) { return find(node, character).node; }

    std::vector<int32_t> ids;  // by node: the id of the token that ends there, or NONE

private:
    struct Edge {
        uint32_t key, node;
    };

    static uint32_t key(uint32_t node, char character) { return node << 8 | static_cast<uint8_t>(character); }

    Edge &find(uint32_t node, char character) {
        const uint32_t edge_key = key(node, character);
        uint32_t slot = (edge_key * 0x9e3779b1u) >> 7 & mask;
        while (edges[slot].node && edges[slot].key != edge_key) slot = (slot + 1) & mask;
        return edges[slot];
    }

    std::vector<Edge> edges;
    uint32_t mask;
};

struct Text {
    const char *start;
    int64_t length;
};

enum Kind : uint8_t { REMOVED, SPACE, PUNCTUATION, LETTER, OTHER };

Kind kind_of(uint8_t c) {
    if (c >= 128) return OTHER;
    if (c == '\t' || c == '\n' || c == '\r' || c == ' ') return SPACE;
    if (c < ' ' || c == 127) return REMOVED;
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return is_plain ? LETTER : PUNCTUATION;
}

struct Tokenizer {
    Trie pieces;
    std::vector<Text> added;
    bool starts_added[256] = {};
    Kind kinds[256];
    char letters[256];
    uint32_t continuation;  // the node of the prefix of continuing subwords, "##"
    bool continues;         // whether a token has that prefix
    int64_t longest_word;
    int32_t unknown, first, last;

    // Whether an added token starts at `text`.
    bool is_added(const char *text, int64_t length) const {
        for (const Text &token : added)
            if (token.length <= length && !memcmp(text, token.start, token.length)) return true;
        return false;
    }
};

// The ids of one text, at most `limit`.
class RowEncoder {
public:
    RowEncoder(Tokenizer &tokenizer, int32_t *ids, int64_t limit)
        : tokenizer(tokenizer), ids(ids), limit(limit), word(tokenizer.longest_word) {}

    // Returns the number of ids, or NONE for a text that has, before it is truncated, an added token or another
    // character than those of ASCII.
    int64_t encode(const char *text, int64_t length) {
        count = letters = 0;
        is_truncated = false;
        for (int64_t i = 0; i < length && !is_truncated; i++) {
            const uint8_t c = text[i];
            if (tokenizer.starts_added[c] && tokenizer.is_added(text + i, length - i)) return NONE;
            switch (tokenizer.kinds[c]) {
                case OTHER:
                    return NONE;
                case REMOVED:
                    break;
                case LETTER:
                    put(tokenizer.letters[c]);
                    break;
                case SPACE:
                    end_word();
                    break;
                case PUNCTUATION:
                    end_word();
                    put(c);
                    end_word();
                    break;
            }
        }
        end_word();
        return count;
    }

    bool is_truncated;

private:
    void put(char letter) {
        if (letters < tokenizer.longest_word) word[letters] = letter;
        letters++;
    }

    void end_word() {
        if (!letters) return;
        const int64_t before = count;
        if (letters > tokenizer.longest_word || !split()) {
            count = before;
            is_truncated = false;
            add(tokenizer.unknown);
        }
        letters = 0;
    }

    // Greedy longest match. Returns false if the word cannot be composed of pieces.
    bool split() {
        for (int64_t start = 0; start < letters;) {
            if (start && !tokenizer.continues) return false;
            uint32_t node = start ? tokenizer.continuation : 0;
            int64_t end = start;
            int32_t id = NONE;
            for (int64_t i = start; i < letters; i++) {
                node = tokenizer.pieces.next(node, word[i]);
                if (!node) break;
                if (tokenizer.pieces.ids[node] == NONE) continue;
                id = tokenizer.pieces.ids[node];
                end = i + 1;
            }
            if (id == NONE) return false;
            add(id);
            start = end;
        }
        return true;
    }

    void add(int32_t id) {
        if (count < limit)
            ids[count++] = id;
        else
            is_truncated = true;
    }

    Tokenizer &tokenizer;
    int32_t *ids;
    int64_t limit, count, letters;
    std::vector<char> word;
};

}  // namespace

extern "C" {

// characters: all tokens concatenated, which must outlive the tokenizer; starts: [count + 1]. The first `pieces` tokens
// are the vocabulary, with `ids`, the others the added tokens. prefix: that of continuing subwords.
void *make_tokenizer(const char *characters, const int64_t *starts, const int32_t *ids, int64_t pieces, int64_t count,
                     const char *prefix, int64_t longest_word, int64_t lowers, int64_t unknown, int64_t first,
                     int64_t last) {
    auto *tokenizer = new Tokenizer{Trie(starts[pieces] + strlen(prefix))};
    for (int64_t i = 0; i < pieces; i++)
        tokenizer->pieces.add(characters + starts[i], starts[i + 1] - starts[i], ids[i]);
    for (int64_t i = pieces; i < count; i++) {
        tokenizer->added.push_back({characters + starts[i], starts[i + 1] - starts[i]});
        tokenizer->starts_added[static_cast<uint8_t>(characters[starts[i]])] = true;
    }
    for (int c = 0; c < 256; c++) {
        tokenizer->kinds[c] = kind_of(c);
        tokenizer->letters[c] = lowers && c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
    }
    tokenizer->continuation = 0;
    tokenizer->continues = true;
    for (; *prefix && tokenizer->continues; prefix++) {
        tokenizer->continuation = tokenizer->pieces.next(tokenizer->continuation, *prefix);
        tokenizer->continues = tokenizer->continuation;
    }
    tokenizer->longest_word = longest_word;
    tokenizer->unknown = unknown;
    tokenizer->first = first;
    tokenizer->last = last;
    return tokenizer;
}

// ids: of the texts `characters[starts[row]:ends[row]]`, those of one after those of another, each with the sequence's
// first and last id; there must be space for `length` or characters + 2 of each text, whichever is less. counts: ids
// per text, or -1 as RowEncoder.encode. truncated: whether a text had more ids. Returns the number of ids.
int64_t encode(void *handle, const char *characters, const int64_t *starts, const int64_t *ends, int64_t rows,
               int64_t length, int32_t *ids, int32_t *counts, uint8_t *truncated) {
    Tokenizer &tokenizer = *static_cast<Tokenizer *>(handle);
    int32_t *to = ids;
    for (int64_t row = 0; row < rows; row++) {
        RowEncoder encoder(tokenizer, to + 1, length - 2);
        const int64_t count = encoder.encode(characters + starts[row], ends[row] - starts[row]);
        truncated[row] = encoder.is_truncated;
        counts[row] = count == NONE ? NONE : count + 2;
        if (count == NONE) continue;
        to[0] = tokenizer.first;
        to[count + 1] = tokenizer.last;
        to += count + 2;
    }
    return to - ids;
}

void delete_tokenizer(void *handle) { delete static_cast<Tokenizer *>(handle); }

}  // extern "C"
