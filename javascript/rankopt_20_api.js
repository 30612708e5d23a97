// The HTTP client: JSON in, JSON out, errors with the server's own sentence, and patience while the server is away.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.Api) return;

    const AWAY = new Set([502, 503, 504]);

    /** The server refused; `message` is its sentence. */
    class ApiError extends Error {
        constructor(status, kind, message) {
            super(message);
            this.status = status;
            this.kind = kind;
        }
    }

    /** Could not be reached. */
    class Offline extends Error {}

    class Api {
        /** @param {string} address of the API, relative to the page */
        constructor(address) {
            this.root = new URL(`${address.replace(/\/+$/, '')}/`, `${location.origin}${location.pathname}`);
            this.instance = null;
            this.onReach = () => {};
        }

        /** Full address of a path, each part escaped. */
        url(...parts) {
            return new URL(parts.map((part) => encodeURIComponent(part)).join('/'), this.root).href;
        }

        /** Address of an image. */
        image(hash) {
            return this.url('images', hash);
        }

        /** Address of a collected image's thumbnail, at most `size` pixels wide and high. */
        thumb(number, size) {
            return `${this.url('data', 'images', number, 'thumb')}?size=${size}`;
        }

        /** Address of a preview; the version makes the browser ask again. */
        preview(study, candidate, version) {
            return `${this.url('studies', study, 'previews', candidate)}?v=${version}`;
        }

        get(parts, query, signal) {
            return this.call('GET', parts, undefined, query, signal);
        }

        post(parts, body) {
            return this.call('POST', parts, body || {});
        }

        patch(parts, body) {
            return this.call('PATCH', parts, body);
        }

        remove(parts) {
            return this.call('DELETE', parts);
        }

        /** Send until the server answers, however long it is away. The body must be one that counts once, however often it comes. */
        async persist(method, parts, body) {
            for (let wait = 300; ; wait = Math.min(wait * 1.6, 3000)) {
                try {
                    return await this.call(method, parts, body);
                } catch (error) {
                    if (!(error instanceof Offline)) throw error;
                    await ns.base.sleep(wait);
                }
            }
        }

        /** Send a picture as gradio's image component has it: a data address, or a file that it has uploaded already. */
        async upload(picture) {
            const data = await (await fetch(typeof picture === 'string' ? picture : picture.url)).blob();
            return this.call('POST', ['images'], data);
        }

        /** One request. */
        async call(method, parts, body, query, signal) {
            const address = this.url(...parts) + (query ? `?${new URLSearchParams(query)}` : '');
            const options = {method, signal, credentials: 'same-origin', headers: {}};
            if (body instanceof Blob) {
                options.headers['Content-Type'] = body.type;
                options.body = body;
            } else if (body !== undefined) {
                options.headers['Content-Type'] = 'application/json';
                options.body = JSON.stringify(body);
            }
            const response = await this.reach(address, options);
            const answer = response.status === 204 ? null : await response.json().catch(() => null);
            if (!response.ok) {
                const given = answer || {};
                if (response.status === 404 && !given.error) {
                    // Not ours: the webui answers already and has not taken in our routes yet, as after Reload UI.
                    this.onReach(false);
                    throw new Offline('The server is not ready.');
                }
                const sentence = given.message || (typeof given.detail === 'string' ? given.detail : `The server answered ${response.status}.`);
                throw new ApiError(response.status, given.error || 'Error', sentence);
            }
            return answer;
        }

        async reach(address, options) {
            let response;
            try {
                response = await fetch(address, options);
            } catch (error) {
                if (error.name === 'AbortError') throw error;
                this.onReach(false);
                throw new Offline('The server cannot be reached.');
            }
            if (AWAY.has(response.status)) {
                this.onReach(false);
                throw new Offline('The server is not ready.');
            }
            this.onReach(true);
            const instance = response.headers.get('Rankopt-Instance');
            if (instance) this.instance = instance;
            return response;
        }
    }

    ns.Api = Api;
    ns.ApiError = ApiError;
    ns.Offline = Offline;
}());
